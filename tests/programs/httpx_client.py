"""httpx: requests over HTTP/2. URL AUTHORITY [header|body]; the key, if any, is in KM_KEY.

Two requests on one connection, so that the second one's headers refer to the first one's."""
import os, sys, httpx

url, authority, place = sys.argv[1:4]
key = os.environ.get("KM_KEY")
headers = {"authorization": f"Bearer {key}"} if key and place == "header" else {}
note = key if key and place == "body" else "nothing"
with httpx.Client(http2=True, verify=authority) as client:
    client.post(url, json={"prompt": "hello"}, headers={"x-first": "1"}).raise_for_status()
    answer = client.post(url, json={"env": {"API_KEY": note}}, headers=headers)
    answer.raise_for_status()
    assert answer.http_version == "HTTP/2", answer.http_version
print("ok")
