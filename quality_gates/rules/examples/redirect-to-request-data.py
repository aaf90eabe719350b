from flask import redirect, request, url_for

def after_sign_in():
    # ruleid: redirect-to-request-data
    return redirect(request.args["next"])

def fixed():
    # ok: redirect-to-request-data
    return redirect(url_for("home"))

def checked():
    address = request.args["next"]
    if is_ours(address):
        # ok: redirect-to-request-data
        return redirect(address)
    return redirect("/")
