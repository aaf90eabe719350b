# ruleid: django-any-host
ALLOWED_HOSTS = ["*"]
# ok: django-any-host
ALLOWED_HOSTS = ["shop.example"]
