class View:
    def remove(self, user, thing):
        # ruleid: access-checked-by-assert
        assert user.is_admin
        thing.remove()

    def read(self, user, thing):
        # ok: access-checked-by-assert
        if not user.has_perm("read"):
            raise PermissionError(thing)
        # ok: access-checked-by-assert
        assert thing.loaded

def test_admin(user):
    # ok: access-checked-by-assert
    assert user.is_admin
