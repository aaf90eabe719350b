import jinja2

# ruleid: template-escaping-off
plain = jinja2.Environment(loader=loader, autoescape=False)
# ok: template-escaping-off
escaping = jinja2.Environment(loader=loader, autoescape=jinja2.select_autoescape())
