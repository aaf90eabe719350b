from django.views.decorators.csrf import csrf_exempt, csrf_protect

# ruleid: csrf-protection-off
@csrf_exempt
def transfer(request):
    return move_money(request)

# ok: csrf-protection-off
@csrf_protect
def pay(request):
    return move_money(request)
