"""urllib: one request. URL AUTHORITY [header|body]; the key, if any, is in KM_KEY."""
import os, ssl, sys, urllib.request

url, authority, place = sys.argv[1:4]
key = os.environ.get("KM_KEY")
headers = {"x-api-key": key} if key and place == "header" else {}
data = f'{{"prompt":"{key or "hello"}"}}'.encode() if place == "body" else None
request = urllib.request.Request(url, data=data, headers=headers)
context = ssl.create_default_context(cafile=authority)
print(urllib.request.urlopen(request, context=context).read().decode())
