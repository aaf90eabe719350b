import os
import psycopg

# ruleid: database-password-in-source
psycopg.connect(host="db", user="shop", password="hunter2")
# ok: database-password-in-source
psycopg.connect(host="db", user="shop", password=os.environ["DATABASE_PASSWORD"])
# ok: database-password-in-source
psycopg.connect(host="db", user="shop", password="")
