from flask import Flask

app = Flask(__name__)
# ruleid: session-cookie-setting-off
app.config["SESSION_COOKIE_SECURE"] = False
# ruleid: session-cookie-setting-off
app.config["WTF_CSRF_ENABLED"] = False
# ok: session-cookie-setting-off
app.config["SESSION_COOKIE_SECURE"] = True
# ok: session-cookie-setting-off
app.config["JSON_SORT_KEYS"] = False
