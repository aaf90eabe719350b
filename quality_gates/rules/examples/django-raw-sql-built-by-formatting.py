from django.db.models.expressions import RawSQL

def found(User, name):
    # ruleid: django-raw-sql-built-by-formatting
    return User.objects.annotate(hit=RawSQL("SELECT '%s'" % name, []))

def extra(User, name):
    # ruleid: django-raw-sql-built-by-formatting
    return User.objects.extra(where=[f"name = '{name}'"])

def bound(User, name):
    # ok: django-raw-sql-built-by-formatting
    return User.objects.annotate(hit=RawSQL("SELECT %s", [name]))

def extra_bound(User, name):
    # ok: django-raw-sql-built-by-formatting
    return User.objects.extra(where=["name = %s"], params=[name])
