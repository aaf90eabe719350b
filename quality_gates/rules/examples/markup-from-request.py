from django.utils.safestring import mark_safe
from markupsafe import Markup, escape
from flask import request

def bold():
    # ruleid: markup-from-request
    return Markup("<b>" + request.args["name"] + "</b>")

def django_view(request):
    # ruleid: markup-from-request
    return mark_safe(request.GET["comment"])

def escaped():
    # ok: markup-from-request
    return Markup("<b>") + escape(request.args["name"]) + Markup("</b>")
