from lxml import etree

# ruleid: xml-external-entities-on
parser = etree.XMLParser(resolve_entities=True)
# ruleid: xml-external-entities-on
online = etree.XMLParser(no_network=False)
# ok: xml-external-entities-on
safe = etree.XMLParser(resolve_entities=False, no_network=True)
