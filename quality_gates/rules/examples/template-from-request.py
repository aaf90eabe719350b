import jinja2
from flask import render_template_string, request

def greet():
    # ruleid: template-from-request
    return render_template_string("Hello " + request.args["name"])

def own():
    # ruleid: template-from-request
    return jinja2.Template(request.form["template"]).render()

def fixed():
    # ok: template-from-request
    return render_template_string("Hello {{ name }}", name=request.args["name"])
