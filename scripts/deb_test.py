"""Installs the Debian package in a copy of this system that vanishes afterwards, and drives the service there, under a real systemd.

    python3 scripts/deb_test.py PACKAGE.deb BUNDLE.frost OTHER.frost

The copy is an overlay in memory over /, in namespaces of its own (mounts, processes, network, host name, control groups); nothing that
happens there reaches the host. It needs root. Where systemd cannot be the first process of such a copy, that is said loudly, and
the unit's command is run by hand as an unprivileged user.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SYSTEMD = "/usr/lib/systemd/systemd"
MODEL = "/etc/frosthead/model.frost"
PACKAGE = "/var/cache/frosthead.deb"
DOCUMENTS = "/usr/share/doc/frosthead"
LIBRARY = "/usr/lib/frosthead/libonnxruntime.so."
PATIENCE = 60

# What runs first inside the new namespaces: $1 is an empty folder, the rest the command that becomes the first process of the copy.
# /proc/sys and /sys are read-only, so that no service that sets up a machine sets up the host.
ENTER = r"""
set -e
base=$1
shift
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
cd "$base/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -o remount,bind,ro sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
  touch "dev/$device"
  mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir -p outside
pivot_root . outside
umount -l outside
cd /
exec env -i container=frosthead-test PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
  setpriv --bounding-set=-sys_module,-sys_time "$@"
"""

# A request from inside the copy: method, path, key, body; prints status, the model's fingerprint, and the body, a line each.
ASK = r"""
import sys, urllib.request, urllib.error
method, path, key, body = sys.argv[1:]
headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
request = urllib.request.Request("http://127.0.0.1:8080" + path, body.encode() if body else None, headers, method=method)
try:
    reply = urllib.request.urlopen(request, timeout=30)
except urllib.error.HTTPError as error:
    reply = error
except OSError:
    print("0\n\n")
    sys.exit()
print(reply.status, reply.headers.get("X-Frosthead-Model", ""), reply.read().decode(), sep="\n")
"""


def output(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def said(message):
    print(f"deb: {message}", flush=True)


def until(what, wanted):
    end = time.monotonic() + PATIENCE
    while not (value := wanted()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)
    return value


class ControlGroups:
    """A group of its own in every hierarchy of this machine."""

    def __init__(self):
        mounts = [line.split() for line in open("/proc/self/mounts")]
        self.kinds = {mount[1]: mount[2] for mount in mounts if mount[2] in ("cgroup", "cgroup2")}
        self.name = f"frosthead-test-{os.getpid()}"

    def make(self):
        for mount in self.kinds:
            group = f"{mount}/{self.name}"
            os.mkdir(group)
            # Without processors and memory nobody may join.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if self.kinds[mount] == "cgroup" and os.path.exists(f"{group}/{file}"):
                    with open(f"{mount}/{file}") as source, open(f"{group}/{file}", "w") as target:
                        target.write(source.read())

    def join(self):
        for mount in self.kinds:
            with open(f"{mount}/{self.name}/cgroup.procs", "w") as file:
                file.write(str(os.getpid()))

    def remove(self):
        for mount in self.kinds:
            for folder, _, _ in os.walk(f"{mount}/{self.name}", topdown=False):
                os.rmdir(folder)


def why_no_systemd(groups):
    """Why systemd cannot be the first process of the copy; nothing when it can."""
    if not os.access(SYSTEMD, os.X_OK):
        return f"there is no {SYSTEMD}"
    if not groups.kinds:
        return "no control groups are mounted"
    closed = [mount for mount in groups.kinds if not os.access(mount, os.W_OK)]
    return f"control groups cannot be made in {closed[0]}" if closed else None


class Copy:
    """The copy of the system; `systemd` tells whether it runs there."""

    def __init__(self):
        self.groups = ControlGroups()
        self.base = tempfile.mkdtemp()
        self.log = open(os.path.join(self.base + ".log"), "w+")
        self.unshare = self.first = None
        self.why = why_no_systemd(self.groups)
        self.systemd = self.why is None

    def start(self):
        if self.why:
            said(
                f"SYSTEMD CANNOT BE RUN HERE ({self.why}): the unit's command is run by hand; nothing is known of the unit's sandbox"
            )
            first = ["sleep", "infinity"]
        else:
            self.groups.make()
            hierarchy = 0 if "cgroup" in self.groups.kinds.values() else 1
            first = [
                SYSTEMD,
                "--log-target=console",
                "--show-status=no",
                "--unit=basic.target",
                f"systemd.unified_cgroup_hierarchy={hierarchy}",
            ]
        self.unshare = subprocess.Popen(
            [
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--cgroup",
                "--uts",
                "--ipc",
                "--net",
                "--propagation",
                "private",
                "sh",
                "-c",
                ENTER,
                "enter",
                self.base,
                *first,
            ],
            preexec_fn=self.groups.join if self.systemd else None,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
        )
        self.first = until("the first process of the copy", self.child)
        until(f"{first[0]} is the first process", lambda: self.started(first[0]))
        if self.systemd:
            until(
                "systemd has started",
                lambda: (
                    self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")
                ),
            )
        else:
            self.run("ip", "link", "set", "lo", "up")

    def child(self):
        self.alive()
        return open(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children").read().strip()

    def started(self, program):
        self.alive()
        return os.path.basename(os.readlink(f"/proc/{self.first}/exe")) == os.path.basename(program)

    def alive(self):
        assert self.unshare.poll() is None, (
            "the copy cannot be made: it needs root, and namespaces of its own"
        )

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def enter(self):
        return [
            "nsenter",
            "--target",
            self.first,
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--net",
            "--cgroup",
            "--root",
            "--wd",
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]

    def run(self, *command, check=True):
        """What the command prints, both streams; a failure is one here too."""
        done = subprocess.run(
            [*self.enter(), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert not check or done.returncode == 0, (
            f"{shlex.join(command)} exits with {done.returncode}:\n{done.stdout}"
        )
        return done.stdout

    def exists(self, path):
        return os.path.lexists(f"/proc/{self.first}/root{path}")

    def write(self, path, text):
        with open(f"/proc/{self.first}/root{path}", "w") as file:
            file.write(text)

    def put(self, source, path):
        """Lays a file there as one step, readable for all."""
        inside = f"/proc/{self.first}/root{path}"
        shutil.copyfile(source, inside + ".new")
        os.chmod(inside + ".new", 0o644)
        os.rename(inside + ".new", inside)

    def fingerprint(self, bundle):
        """What a bundle's answers are marked with; it is laid beside the model for that, as the copy does not see all of the host."""
        self.put(bundle, "/etc/frosthead/fingerprint.frost")
        said = json.loads(self.run("frosthead", "inspect", "/etc/frosthead/fingerprint.frost", "--json"))
        self.run("rm", "/etc/frosthead/fingerprint.frost")
        return said["fingerprint"]

    def ask(self, method, path, key="", body=None):
        """Status, the model's fingerprint, the body; status 0 when nobody listens."""
        text = json.dumps(body) if body else ""
        status, model, answer = self.run("python3", "-c", ASK, method, path, key, text).split("\n", 2)
        return int(status), model, answer

    def label(self, key=""):
        """The model that answers, and what it says."""
        status, model, answer = self.ask(
            "POST", "/v1/predict", key, {"texts": ["Great phone, would buy again!"]}
        )
        assert status == 200, (status, answer)
        return model, json.loads(answer)["results"][0]["tasks"]["domain"]["label"]

    def ready(self):
        until("the server is ready", lambda: self.ask("GET", "/readyz")[0] == 200)

    def property(self, name):
        return self.run("systemctl", "show", "--value", "--property", name, "frosthead").strip()

    def journal(self):
        return self.run("journalctl", "--unit", "frosthead", "--output", "cat", "--no-pager")

    def end(self):
        if self.unshare and self.unshare.poll() is None:
            # The end of its first process is the end of all of them.
            os.kill(int(self.first or self.unshare.pid), signal.SIGKILL)
            self.unshare.wait()
        if self.systemd:
            until("the control groups are empty", self.removed)
        os.rmdir(self.base)
        os.unlink(self.log.name)

    def removed(self):
        try:
            self.groups.remove()
        except OSError:
            return False
        return True


def check_package(package):
    """What is in it, without installing it."""
    fields = dict(
        line.split(": ", 1)
        for line in output(
            "dpkg-deb", "--field", package, "Package", "Version", "Architecture", "Depends"
        ).splitlines()
    )
    (version,) = re.findall(r'^version = "(.+)"$', open("Cargo.toml").read(), re.MULTILINE)
    assert fields["Package"] == "frosthead" and fields["Version"] == f"{version}-1", fields
    assert fields["Architecture"] == output("dpkg", "--print-architecture").strip(), fields
    for needed in ("libc6 (>= ", "libgcc-s1", "libstdc++6"):
        assert needed in fields["Depends"], fields
    assert "ONNX Runtime" in output("dpkg-deb", "--field", package, "Description")
    rows = [line.split(None, 5) for line in output("dpkg-deb", "--contents", package).splitlines()]
    files = {name.lstrip("."): mode for mode, _, _, _, _, name in rows if not name.endswith("/")}
    assert {owner for _, owner, *_ in rows} <= {"root/root", "0/0"}, rows
    modes = {name: mode for name, mode in files.items() if mode != "-rw-r--r--"}
    assert modes == {"/usr/bin/frosthead": "-rwxr-xr-x"}, modes
    wanted = [
        "/usr/lib/systemd/system/frosthead.service",
        "/etc/frosthead/environment",
        f"{DOCUMENTS}/copyright",
        f"{DOCUMENTS}/README.md",
        f"{DOCUMENTS}/docs/SUMMARY.md",
        f"{DOCUMENTS}/CHANGELOG.md",
        f"{DOCUMENTS}/THIRD-PARTY.md",
        f"{DOCUMENTS}/onnxruntime-LICENSE",
        f"{DOCUMENTS}/onnxruntime-ThirdPartyNotices.txt",
        "/usr/share/man/man1/frosthead.1.gz",
        "/usr/share/man/man1/frosthead-serve.1.gz",
        "/usr/share/bash-completion/completions/frosthead",
        "/usr/share/zsh/vendor-completions/_frosthead",
        "/usr/share/fish/vendor_completions.d/frosthead.fish",
    ]
    assert set(wanted) <= set(files), set(wanted) - set(files)
    assert len([name for name in files if name.startswith(LIBRARY)]) == 1, files
    known = [
        name
        for name in files
        if name in wanted
        or name in modes
        or name.startswith((LIBRARY, f"{DOCUMENTS}/docs/", "/usr/share/man/man1/frosthead"))
    ]
    assert len(known) == len(files), set(files) - set(known)
    assert output("dpkg-deb", "--info", package, "conffiles").split() == ["/etc/frosthead/environment"]
    return version, sorted(files)


def check_installed(copy, package, version):
    # Images for containers forbid packages to start services; this copy is a whole system.
    copy.run("rm", "--force", "/usr/sbin/policy-rc.d")
    copy.put(package, PACKAGE)
    copy.run("dpkg", "--install", PACKAGE)
    assert (
        copy.run("dpkg-query", "--show", "--showformat", "${db:Status-Abbrev}", "frosthead").strip() == "ii"
    )
    assert copy.run("dpkg", "--verify", "frosthead") == ""
    assert copy.run("frosthead", "--version").split() == ["frosthead", version]
    doctor = json.loads(copy.run("frosthead", "--quiet", "doctor", "--json"))
    assert doctor["library"].startswith(LIBRARY), doctor["library"]
    page = copy.run("man", "--pager=cat", "frosthead-serve")
    assert "--api-keys" in page and "SIGHUP" in page, page
    completed = "source /usr/share/bash-completion/completions/frosthead && COMP_WORDS=(frosthead ser) COMP_CWORD=1 && _frosthead frosthead ser frosthead && echo ${COMPREPLY[@]}"
    assert copy.run("bash", "-c", completed).split() == ["serve"]
    said(f"installed: frosthead {version}, {doctor['library']}")


def check_sandbox(copy):
    """What the process that answers may do."""
    pid = copy.property("MainPID")
    status = dict(
        line.split(":\t", 1) for line in copy.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line
    )
    uid = int(status["Uid"].split()[0])
    assert uid != 0 and int(status["Gid"].split()[0]) != 0, status["Uid"]
    assert set(status["CapEff"]) == set(status["CapBnd"]) == set(status["CapPrm"]) == {"0"}, status
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), status
    mounts = [line.split() for line in copy.run("cat", f"/proc/{pid}/mountinfo").splitlines()]
    (root,) = [mount[5] for mount in mounts if mount[4] == "/"]
    assert root.split(",")[0] == "ro", root
    limit = int(copy.property("MemoryMax"))
    assert limit == 1 << 30, limit
    # What the kernel holds it to: version 2 of control groups, or version 1.
    group = copy.property("ControlGroup")
    files = [f"/sys/fs/cgroup{group}/memory.max", f"/sys/fs/cgroup/memory{group}/memory.limit_in_bytes"]
    held = [int(copy.run("cat", file)) for file in files if copy.exists(file)]
    assert held == [limit], f"the kernel limits memory to {held}"
    exposure = float(
        re.search(
            r"Overall exposure level for frosthead.service: ([0-9.]+)",
            copy.run("systemd-analyze", "--no-pager", "security", "frosthead"),
        )[1]
    )
    assert exposure < 2, f"systemd-analyze security: {exposure}"
    said(
        f"sandbox: user {uid}, no capabilities, / read-only, memory {limit >> 20} MiB, exposure {exposure} of 10"
    )


def check_service(copy, bundle, other):
    first, second = map(copy.fingerprint, (bundle, other))
    assert first != second
    unit = "/usr/lib/systemd/system/frosthead.service"
    complaints = [
        line for line in copy.run("systemd-analyze", "verify", unit).splitlines() if "frosthead" in line
    ]
    assert not complaints, complaints
    # Without a model there is nothing to serve, and that is no failure.
    assert copy.run("systemctl", "is-enabled", "frosthead").strip() == "enabled"
    assert (copy.property("ActiveState"), copy.property("ConditionResult"), copy.property("Result")) == (
        "inactive",
        "no",
        "success",
    )
    copy.put(bundle, MODEL)
    copy.run("systemctl", "start", "frosthead")
    copy.ready()
    assert copy.label() == (first, "product_review")
    check_sandbox(copy)
    # Reload: the same file is opened again. Another file: it is served, without being told.
    copy.run("systemctl", "reload", "frosthead")
    until("the bundle is opened again", lambda: copy.journal().count('"new bundle"') == 1)
    copy.put(other, MODEL)
    until("the other bundle", lambda: copy.label()[0] == second)
    # Killed, it comes back.
    pid = copy.property("MainPID")
    copy.run("kill", "-KILL", pid)
    until(
        "it is restarted",
        lambda: copy.property("NRestarts") == "1" and copy.property("ActiveState") == "active",
    )
    copy.ready()
    assert copy.property("MainPID") != pid and copy.label() == (second, "product_review")
    # Options, keys that only hashes are known of.
    copy.write(
        "/etc/frosthead/keys", "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n"
    )
    copy.write(
        "/etc/frosthead/environment", "FROSTHEAD_OPTIONS=--api-keys /etc/frosthead/keys --max-texts 7\n"
    )
    copy.run("systemctl", "restart", "frosthead")
    copy.ready()
    assert copy.ask("GET", "/v1/model")[0] == 401
    assert copy.label("secret") == (second, "product_review")
    # An upgrade restarts it, and leaves what was configured.
    pid = copy.property("MainPID")
    copy.run("dpkg", "--install", PACKAGE)
    assert copy.property("MainPID") != pid, "it was not restarted"
    copy.ready()
    assert copy.ask("GET", "/v1/model")[0] == 401
    # The end.
    copy.run("systemctl", "stop", "frosthead")
    assert (copy.property("Result"), copy.property("ExecMainStatus"), copy.property("ActiveState")) == (
        "success",
        "0",
        "inactive",
    )
    said(
        "service: started, answered, reloaded, exchanged, killed and restarted, configured, upgraded, stopped"
    )
    copy.run("systemctl", "start", "frosthead")
    copy.ready()


def check_command(copy, bundle, other):
    """The unit's command without the unit, as an unprivileged user."""
    first, second = map(copy.fingerprint, (bundle, other))
    unit = open(f"/proc/{copy.first}/root/usr/lib/systemd/system/frosthead.service").read()
    (command,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    copy.put(bundle, MODEL)
    nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]
    server = subprocess.Popen(
        [*copy.enter(), *nobody, *shlex.split(command.replace("$FROSTHEAD_OPTIONS", ""))]
    )
    copy.ready()
    assert copy.label() == (first, "product_review")
    pid = copy.run("pgrep", "--exact", "--uid", "65534", "frosthead").strip()
    copy.put(other, MODEL)
    copy.run("kill", "-HUP", pid)
    until("the other bundle", lambda: copy.label()[0] == second)
    copy.run("kill", "-TERM", pid)
    assert server.wait(PATIENCE) == 0
    said("the unit's command as nobody: started, answered, exchanged, ended with 0")


def check_removed(copy, files):
    copy.run("dpkg", "--remove", "frosthead")
    assert copy.ask("GET", "/healthz")[0] == 0, "it still answers"
    left = [name for name in files if copy.exists(name)]
    assert left == ["/etc/frosthead/environment"], left
    copy.run("dpkg", "--purge", "frosthead")
    left = [name for name in files if copy.exists(name)]
    assert left == [] and not copy.exists("/usr/lib/frosthead") and not copy.exists(DOCUMENTS), left
    assert copy.exists(MODEL), "the model is the user's"
    links = copy.run(
        "find",
        "/etc/systemd",
        "/var/lib/systemd/deb-systemd-helper-enabled",
        "-name",
        "*frosthead*",
        check=False,
    )
    assert "frosthead" not in links, links
    if copy.systemd:
        assert copy.property("LoadState") == "not-found"
    said("removed and purged: nothing is left but the model")


def main():
    package, bundle, other = map(os.path.abspath, sys.argv[1:])
    version, files = check_package(package)
    said(f"{os.path.basename(package)}: {len(files)} files, {os.path.getsize(package) / 1e6:.1f} MB")
    copy = Copy()
    try:
        copy.start()
        check_installed(copy, package, version)
        if copy.systemd:
            check_service(copy, bundle, other)
        else:
            check_command(copy, bundle, other)
        check_removed(copy, files)
    except BaseException:
        print(copy.said(), file=sys.stderr)
        if copy.systemd and copy.first and copy.unshare.poll() is None:
            print(copy.run("journalctl", "--no-pager", "--lines", "60", check=False), file=sys.stderr)
        raise
    finally:
        copy.end()


main()
