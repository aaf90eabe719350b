import logging

logger = logging.getLogger(__name__)

def sign_in(user, password, client):
    # ruleid: secret-written-to-log
    logger.info("sign-in of %s with %s", user, password)
    # ruleid: secret-written-to-log
    logger.debug(f"using {client.api_key}")
    # ok: secret-written-to-log
    logger.info("sign-in of %s", user)
    # ok: secret-written-to-log
    logger.info("%s has changed the password", user)
    # ok: secret-written-to-log
    logger.debug("next page is %s", client.page_token)
