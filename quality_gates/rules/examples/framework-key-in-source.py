import os
from flask import Flask

app = Flask(__name__)
# ruleid: framework-key-in-source
app.secret_key = "a very long secret"
# ruleid: framework-key-in-source
app.config["SECRET_KEY"] = "a very long secret"
# ok: framework-key-in-source
app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
# ok: framework-key-in-source
app.config["APPLICATION_ROOT"] = "/application"
