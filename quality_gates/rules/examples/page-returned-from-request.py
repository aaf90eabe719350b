from flask import Flask, request
from markupsafe import escape

app = Flask(__name__)

@app.route("/hello")
def hello():
    # ruleid: page-returned-from-request
    return f"<p>Hello {request.args['name']}</p>"

@app.route("/bye/<name>")
def bye(name):
    # ruleid: page-returned-from-request
    return "<p>Bye " + name + "</p>"

@app.route("/welcome")
def welcome():
    # ok: page-returned-from-request
    return f"<p>Welcome {escape(request.args['name'])}</p>"

@app.route("/number/<int:number>")
def show(number: int):
    # ok: page-returned-from-request
    return f"<p>{number}</p>"
