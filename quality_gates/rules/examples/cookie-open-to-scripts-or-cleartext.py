def sign_in(response, value):
    # ruleid: cookie-open-to-scripts-or-cleartext
    response.set_cookie("session", value, secure=False, httponly=True)
    # ruleid: cookie-open-to-scripts-or-cleartext
    response.set_cookie("auth_token", value, httponly=False)
    # ok: cookie-open-to-scripts-or-cleartext
    response.set_cookie("session", value, secure=True, httponly=True)
    # ok: cookie-open-to-scripts-or-cleartext
    response.set_cookie("theme", "dark", httponly=False)
