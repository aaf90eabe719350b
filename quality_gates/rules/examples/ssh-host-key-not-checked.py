import paramiko

client = paramiko.SSHClient()
# ruleid: ssh-host-key-not-checked
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
# ok: ssh-host-key-not-checked
client.set_missing_host_key_policy(paramiko.RejectPolicy())
# ok: ssh-host-key-not-checked
client.load_system_host_keys()
