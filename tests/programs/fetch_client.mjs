// fetch: one request. URL; the key, if any, is in KM_KEY.
const key = process.env.KM_KEY;
const headers = key ? { authorization: `Bearer ${key}` } : {};
const answer = await fetch(process.argv[2], { method: "POST", headers, body: '{"prompt":"hello"}' });
if (!answer.ok) throw new Error(`status ${answer.status}`);
console.log(await answer.text());
