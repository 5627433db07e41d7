"""requests: a telemetry upload, compressed as exporters do. URL; the key, if any, is in KM_KEY, the authority in REQUESTS_CA_BUNDLE."""
import gzip, json, os, sys, requests

key = os.environ.get("KM_KEY")
spans = [{"name": f"step {number}", "attributes": {"status": "ok"}} for number in range(50)]
report = {"spans": spans, "env": {"HOME": "/root", "API_KEY": key or "nothing"}}
headers = {"content-type": "application/json", "content-encoding": "gzip"}
answer = requests.post(sys.argv[1], data=gzip.compress(json.dumps(report).encode()), headers=headers)
answer.raise_for_status()
print(answer.text)
