import pickle
import requests

def fetch(url):
    answer = requests.get(url, timeout=5)
    # ruleid: unpickle-network-data
    return pickle.loads(answer.content)

def receive(connection):
    # ruleid: unpickle-network-data
    return pickle.loads(connection.recv(4096))

def parsed(url):
    # ok: unpickle-network-data
    return requests.get(url, timeout=5).json()
