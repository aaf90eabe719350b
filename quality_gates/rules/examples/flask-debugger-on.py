from flask import Flask
import asyncio

app = Flask(__name__)

if __name__ == "__main__":
    # ruleid: flask-debugger-on
    app.run(host="127.0.0.1", debug=True)
    # ok: flask-debugger-on
    app.run(host="127.0.0.1")
    # ok: flask-debugger-on
    asyncio.run(main(), debug=True)
