import ldap
import ldap.filter
from flask import request

def find(connection):
    # ruleid: ldap-filter-from-request
    return connection.search_s("dc=example", ldap.SCOPE_SUBTREE, "(uid=" + request.args["uid"] + ")")

def escaped(connection):
    uid = ldap.filter.escape_filter_chars(request.args["uid"])
    # ok: ldap-filter-from-request
    return connection.search_s("dc=example", ldap.SCOPE_SUBTREE, "(uid=" + uid + ")")
