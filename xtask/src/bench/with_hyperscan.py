"""Hyperscan with the same rules on the same text. PATTERNS TEXT; for each line on standard input it scans once and prints
seconds, bytes and hits, as the `compare` example does. Patterns that Hyperscan cannot compile are left out and named."""
import sys, time, hyperscan

CHUNK = 16 * 1024


def database(patterns):
    made = hyperscan.Database(mode=hyperscan.HS_MODE_STREAM)
    count = len(patterns)
    made.compile(expressions=patterns, ids=list(range(count)), elements=count, flags=[0] * count)
    return made


def compiles(pattern):
    try:
        return bool(database([pattern]))
    except hyperscan.error:
        print(f"Hyperscan refuses {pattern.decode()}", file=sys.stderr)
        return False


text = open(sys.argv[2], "rb").read()
rules = database([pattern for pattern in open(sys.argv[1], "rb").read().split(b"\n") if compiles(pattern)])
chunks = [text[at : at + CHUNK] for at in range(0, len(text), CHUNK)]
hits = 0


def on_match(identifier, start, end, flags, context):
    global hits
    hits += 1


for line in sys.stdin:
    hits = 0
    began = time.perf_counter()
    with rules.stream(match_event_handler=on_match) as stream:
        for chunk in chunks:
            stream.scan(chunk)
    print(f"{time.perf_counter() - began:.6f} {len(text)} {hits}", flush=True)
