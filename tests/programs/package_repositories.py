"""Makes repositories of one package that does nothing, for pip, npm and apt, as files for a web server: FOLDER URL."""
import base64, hashlib, io, json, pathlib, subprocess, sys, tarfile, zipfile

folder, url = pathlib.Path(sys.argv[1]), sys.argv[2]
NAME, VERSION = "keymoat-nothing", "1.0.0"


def pip():
    module = NAME.replace("-", "_")
    wheel = f"{module}-{VERSION}-py3-none-any.whl"
    index = folder / "simple" / NAME
    index.mkdir(parents=True)
    info = f"{module}-{VERSION}.dist-info"
    with zipfile.ZipFile(index / wheel, "w") as archive:
        archive.writestr(f"{module}.py", "x = 1\n" * 20_000)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256((index / wheel).read_bytes()).hexdigest()
    (index / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="{wheel}#sha256={digest}">{wheel}</a></body></html>')


def npm():
    (folder / "npm").mkdir()
    about = {"name": NAME, "version": VERSION}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in [("package.json", json.dumps(about)), ("index.js", "1;\n" * 20_000)]:
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    (folder / "npm" / "nothing.tgz").write_bytes(archive.getvalue())
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.getvalue()).digest()).decode()
    version = {**about, "dist": {"tarball": f"{url}/npm/nothing.tgz", "integrity": integrity}}
    document = {"name": NAME, "dist-tags": {"latest": VERSION}, "versions": {VERSION: version}}
    (folder / "npm" / NAME).write_text(json.dumps(document))


def apt():
    repository, content = folder / "apt", folder / "content"
    repository.mkdir()
    (content / "DEBIAN").mkdir(parents=True)
    control = f"Package: {NAME}\nVersion: {VERSION}\nArchitecture: all\nMaintainer: tests <t@keymoat.test>\nDescription: nothing\n"
    (content / "DEBIAN" / "control").write_text(control)
    package = repository / f"{NAME}.deb"
    subprocess.run(["dpkg-deb", "--build", content, package], check=True, stdout=subprocess.DEVNULL)
    digest, size = hashlib.sha256(package.read_bytes()).hexdigest(), package.stat().st_size
    (repository / "Packages").write_text(f"{control}Filename: ./{package.name}\nSize: {size}\nSHA256: {digest}\n\n")


pip(), npm(), apt()
