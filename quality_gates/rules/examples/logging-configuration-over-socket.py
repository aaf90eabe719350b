import logging.config

# ruleid: logging-configuration-over-socket
server = logging.config.listen(9030)
# ok: logging-configuration-over-socket
checked = logging.config.listen(9030, verify=check_signature)
# ok: logging-configuration-over-socket
logging.config.dictConfig({"version": 1})
