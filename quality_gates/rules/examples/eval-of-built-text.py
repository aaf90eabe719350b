def power(base):
    # ruleid: eval-of-built-text
    return eval(f"{base} ** 2")

def ask():
    # ruleid: eval-of-built-text
    return eval(input("expression: "))

def fixed():
    # ok: eval-of-built-text
    return eval("2 ** 16")

def annotation(text, scope):
    # ok: eval-of-built-text
    return eval(text, scope)
