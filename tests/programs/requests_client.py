"""requests: one request. URL; the key, if any, is in KM_KEY, the authority in REQUESTS_CA_BUNDLE."""
import os, sys, requests

key = os.environ.get("KM_KEY")
headers = {"authorization": f"Bearer {key}"} if key else {}
answer = requests.post(sys.argv[1], json={"prompt": "hello"}, headers=headers)
answer.raise_for_status()
print(answer.text)
