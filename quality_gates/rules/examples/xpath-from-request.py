from flask import request

def find(tree):
    # ruleid: xpath-from-request
    return tree.xpath(f"//user[@id='{request.args['id']}']")

def bound(tree):
    # ok: xpath-from-request
    return tree.xpath("//user[@id=$id]", id=request.args["id"])
