import random
import secrets
import string
import uuid

def make(user):
    # ruleid: guessable-secret
    user.reset_token = "".join(random.choice(string.ascii_letters) for _ in range(20))
    # ruleid: guessable-secret
    session_id = str(uuid.uuid1())
    # ok: guessable-secret
    api_key = secrets.token_urlsafe(32)
    # ok: guessable-secret
    delay_s = random.random()
    # ok: guessable-secret
    user.colour = random.choice(["red", "green"])
    return session_id, api_key, delay_s
