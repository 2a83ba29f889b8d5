using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json;
using System.Text.Json.Nodes;
using Vmsweep.Golden;

namespace Vmsweep.Rigs.Xen;

/// <summary>
/// A pool of XenServer or XCP-ng: a stand-in that speaks the documented messages of its management API (JSON-RPC 2.0, tasks, exports), holds VMs whose disks
/// have real content, and fails on demand. No simulator of it can be had; disks are served by other people's NBD servers.
/// </summary>
public sealed class XenRig : IDisposable
{
    public const string Account = "scanner";
    public const string Password = "secret & <word>";
    public const string Machine = "web 1";
    public const string Repository = "Local storage";

    private readonly Scratch _scratch = new();
    private readonly XenObjects _objects = new();
    private readonly XenStorage _storage;
    private readonly XenHttp _http;
    private readonly XenPool _pool;
    private readonly List<XenArmed> _armed = [];
    private readonly ConcurrentDictionary<string, int> _calls = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, bool> _sessions = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();

    /// <param name="host">On which address of this machine it answers.</param>
    /// <param name="port">0 for any.</param>
    /// <param name="master">Where the master is; null: this is it.</param>
    public XenRig(string host = "127.0.0.1", int port = 0, string? master = null)
    {
        Master = master;
        Directory.CreateDirectory(_scratch["pki"]);
        Tool.Shell(
            $$"""
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca-key.pem -out ca-cert.pem -days 30 -subj '/CN=rig' -addext basicConstraints=critical,CA:true 2>/dev/null
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server-key.pem -out server.csr -subj '/CN={{host}}' 2>/dev/null
            printf 'subjectAltName=IP:{{host}}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth\n' > ext
            openssl x509 -req -in server.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -out server-cert.pem -days 30 -extfile ext 2>/dev/null
            """,
            _scratch["pki"]);
        var certificate = X509Certificate2.CreateFromPemFile(_scratch["pki/server-cert.pem"], _scratch["pki/server-key.pem"]);
        Fingerprint = "sha256:" + Convert.ToHexString(SHA256.HashData(certificate.RawData));
        Certificate = File.ReadAllText(_scratch["pki/server-cert.pem"]);
        _storage = new XenStorage(_scratch.Folder, _scratch["pki"]);
        _pool = new XenPool(_objects, _storage, host, IsSession) { NbdCertificate = Certificate, ServerCertificate = Certificate };
        _http = new XenHttp(new IPEndPoint(IPAddress.Parse(host), port), certificate, Handle);
        Address = string.Create(CultureInfo.InvariantCulture, $"{host}:{_http.Port}");
    }

    /// <summary>Host and port.</summary>
    public string Address { get; }

    public int Port => _http.Port;

    public string Fingerprint { get; }

    /// <summary>In PEM.</summary>
    public string Certificate { get; }

    public string CaFile => _scratch["pki/ca-cert.pem"];

    /// <summary>A member names it to whoever logs in.</summary>
    public string? Master { get; set; }

    /// <summary>Where exports are to be fetched; null: here.</summary>
    public string? ExportsAt { get; set; }

    /// <summary>Nothing is answered, and nothing is carried out.</summary>
    public bool IsDown { get; set; }

    /// <summary>How disks are served: <c>qemu-nbd</c>, <c>nbdkit</c>, <c>front</c>, or <c>none</c>.</summary>
    public string NbdWay { get => _pool.NbdWay; set => _pool.NbdWay = value; }

    /// <summary>What <c>VDI.get_nbd_info</c> says of certificates.</summary>
    public string NbdCertificate { get => _pool.NbdCertificate; set => _pool.NbdCertificate = value; }

    /// <summary>What <c>host.get_server_certificate</c> says.</summary>
    public string ServerCertificate { get => _pool.ServerCertificate; set => _pool.ServerCertificate = value; }

    /// <summary>Whether <c>enable_cbt</c> is allowed.</summary>
    public bool HasTracking { get => _pool.HasTracking; set => _pool.HasTracking = value; }

    /// <summary>Disks that were read and are no snapshots.</summary>
    public IReadOnlyCollection<string> ReadLive => _pool.ReadLive;

    public int Sessions => _sessions.Count(s => s.Value);

    public int Calls(string method) => _calls.GetValueOrDefault(method);

    public IReadOnlyCollection<string> Called => [.. _calls.Keys];

    /// <summary>As every test finds it: one VM with a disk of its own.</summary>
    public void Reset(string raw, string power = "Running")
    {
        lock (_lock)
        {
            _armed.Clear();
            _calls.Clear();
            _sessions.Clear();
            _pool.Reset();
        }

        ExportsAt = null;
        IsDown = false;
        AddVm(Machine, power, raw);
    }

    /// <summary>The next calls of a method fail in a way.</summary>
    /// <param name="method">Of the API, or <c>export</c>.</param>
    public void Arm(string method, string action, int times = 1, int skip = 0)
    {
        lock (_lock)
        {
            _armed.Add(new XenArmed(method, action) { Times = times, Skip = skip });
        }
    }

    /// <summary>Nothing fails any more.</summary>
    public void Disarm()
    {
        lock (_lock)
        {
            _armed.Clear();
        }
    }

    /// <summary>All sessions end.</summary>
    public void Expire() => _sessions.Clear();

    /// <returns>Reference of the VM.</returns>
    public string AddVm(string name, string power, params string[] raw)
    {
        lock (_lock)
        {
            string vm = _pool.AddVm(name, power);
            foreach (string disk in raw)
            {
                _pool.AddDisk(vm, disk);
            }

            return vm;
        }
    }

    public void AddDisk(string name, string raw) => With("VM", name, (vm, _) => _pool.AddDisk(vm, raw));

    /// <summary>Changes a field of an object, by its name.</summary>
    public void Set(string kind, string name, string field, JsonNode? value) => With(kind, name, (_, o) => o[field] = value);

    public JsonNode? Get(string kind, string name, string field)
    {
        JsonNode? found = null;
        With(kind, name, (_, o) => found = o[field]?.DeepClone());
        return found;
    }

    /// <summary>Uuids of a VM's disks.</summary>
    public string[] Disks(string name)
    {
        string[] found = [];
        With("VM", name, (vm, _) => found = _pool.DisksOf(vm));
        return found;
    }

    /// <summary>Changes a field of a VM's disk.</summary>
    public void SetDisk(string uuid, string field, JsonNode? value)
    {
        lock (_lock)
        {
            _objects.Class("VDI").Values.Single(v => v["uuid"]!.GetValue<string>() == uuid)[field] = value;
        }
    }

    public JsonNode? GetDisk(string uuid, string field)
    {
        lock (_lock)
        {
            return _objects.Class("VDI").Values.SingleOrDefault(v => v["uuid"]!.GetValue<string>() == uuid)?[field]?.DeepClone();
        }
    }

    /// <summary>The guest writes.</summary>
    public void Write(string uuid, Action<FileStream> write)
    {
        using FileStream file = File.OpenWrite(_storage.PathOf(uuid));
        write(file);
    }

    /// <summary>Replaces what a disk holds, as a guest that wrote for a day.</summary>
    public void Fill(string uuid, string raw) => Tool.Run("cp", "--sparse=always", raw, _storage.PathOf(uuid));

    /// <summary>Names of snapshots of VMs, and uuids of disks that are snapshots.</summary>
    public (string[] Snapshots, string[] Disks) Left()
    {
        lock (_lock)
        {
            return ([.. _objects.Class("VM").Values.Where(v => v["is_a_snapshot"]!.GetValue<bool>()).Select(v => v["name_label"]!.GetValue<string>())],
                [.. _objects.Class("VDI").Values.Where(v => v["is_a_snapshot"]!.GetValue<bool>()).Select(v => v["uuid"]!.GetValue<string>())]);
        }
    }

    /// <summary>Somebody removes a VM or a snapshot, with its disks.</summary>
    public void Remove(string name) => With("VM", name, (vm, _) => _pool.Forget(vm));

    /// <summary>The VM goes back to a state from before: its disks are others, and none of its snapshots is touched.</summary>
    public void Revert(string name, string raw) => With("VM", name, (vm, _) => _pool.Revert(vm, raw));

    /// <summary>A disk is moved to other storage, where it is another disk under the same devices.</summary>
    public void Move(string uuid)
    {
        lock (_lock)
        {
            _pool.Move(uuid);
        }
    }

    /// <summary>Somebody makes a snapshot.</summary>
    public void Snapshot(string name, string called) => With("VM", name, (vm, _) => _pool.Snapshot(vm, called, []));

    /// <summary>NBD servers of snapshots end.</summary>
    public void StopServers()
    {
        foreach (string disk in Left().Disks)
        {
            _storage.Stop(disk);
        }
    }

    public void Dispose()
    {
        _http.Dispose();
        _storage.Dispose();
        _scratch.Dispose();
    }

    private bool IsSession(string session) => _sessions.TryGetValue(session, out bool isAlive) && isAlive;

    private void With(string kind, string name, Action<string, JsonObject> act)
    {
        lock (_lock)
        {
            (string reference, JsonObject found) = _objects.Class(kind).First(o => o.Value["name_label"]!.GetValue<string>() == name);
            act(reference, found);
        }
    }

    private void Handle(XenRequest request, Stream stream)
    {
        if (IsDown)
        {
            throw new IOException("down");
        }

        string method = "export";
        JsonElement call = default;
        if (request.Method == "POST")
        {
            call = JsonDocument.Parse(request.Body).RootElement.Clone();
            method = call.GetProperty("method").GetString()!;
        }

        _calls.AddOrUpdate(method, 1, (_, n) => n + 1);
        string action;
        lock (_lock)
        {
            action = _armed.FirstOrDefault(a => a.Takes(method))?.Action ?? "";
        }

        if (XenFaults.Before(action, stream))
        {
            return;
        }

        if (method == "export")
        {
            Export(request.Target, action, stream);
            return;
        }

        JsonNode? result = null;
        JsonArray? error = null;
        try
        {
            result = action.StartsWith("error:", StringComparison.Ordinal) ? throw new XenFault(action[6..], "rig") : Call(method, [.. call.GetProperty("params").EnumerateArray()], action);
        }
        catch (XenFault e)
        {
            error = [.. e.Description.Select(d => JsonValue.Create(d))];
        }

        JsonNode id = JsonNode.Parse(call.GetProperty("id").GetRawText())!;
        var answer = new JsonObject { ["jsonrpc"] = "2.0", ["id"] = action == "wrongid" ? 0 : id };
        if (error is null)
        {
            answer["result"] = result;
        }
        else
        {
            answer["error"] = new JsonObject { ["code"] = 1, ["message"] = error[0]!.DeepClone(), ["data"] = new JsonArray([.. error.Skip(1).Select(e => e!.DeepClone())]) };
        }

        XenFaults.After(action);
        XenHttp.Answer(stream, 200, answer.ToJsonString());
    }

    private JsonNode? Call(string method, JsonElement[] arguments, string action)
    {
        if (Master is { } master)
        {
            throw new XenFault("HOST_IS_SLAVE", master);
        }

        string first = arguments[0].GetString()!;
        if (method == "session.login_with_password")
        {
            if (first != Account || arguments[1].GetString() != Password)
            {
                throw new XenFault("SESSION_AUTHENTICATION_FAILED", first, "Authentication failure");
            }

            string session = XenObjects.NewReference();
            _sessions[session] = true;
            return session;
        }

        if (!IsSession(first))
        {
            throw new XenFault("SESSION_INVALID", first);
        }

        if (method == "session.logout")
        {
            _sessions[first] = false;
            return "";
        }

        if (method.StartsWith("Async.", StringComparison.Ordinal))
        {
            return Begin(method[6..], arguments[1..], action);
        }

        lock (_lock)
        {
            return _pool.Call(method, first, arguments[1..]);
        }
    }

    /// <summary>A task, which goes on whether anybody asks for it or not.</summary>
    private string Begin(string method, JsonElement[] arguments, string action)
    {
        string task;
        JsonObject state;
        lock (_lock)
        {
            state = new JsonObject { ["name_label"] = "Async." + method, ["status"] = "pending", ["result"] = "", ["error_info"] = new JsonArray() };
            task = _objects.Add("task", state);
            _pool.Mark(method, arguments, task);
        }

        new Thread(() =>
        {
            XenFaults.Slow(action);
            lock (_lock)
            {
                try
                {
                    JsonNode? result = action.StartsWith("task:", StringComparison.Ordinal) ? throw new XenFault(action[5..], "rig") : _pool.Call(method, "", arguments);
                    state["result"] = result is null || result.GetValue<string>().Length == 0 ? "" : $"<value>{result.GetValue<string>()}</value>";
                    state["status"] = "success";
                }
                catch (XenFault e)
                {
                    state["error_info"] = new JsonArray([.. e.Description.Select(d => JsonValue.Create(d))]);
                    state["status"] = "failure";
                }
                finally
                {
                    _pool.Unmark(arguments, task);
                }
            }
        }) { IsBackground = true }.Start();
        return task;
    }

    private void Export(string target, string action, Stream stream)
    {
        Dictionary<string, string> query = target.Split('?')[1].Split('&').Select(p => p.Split('=', 2)).ToDictionary(p => p[0], p => Uri.UnescapeDataString(p[1]));
        if (!target.StartsWith("/export_raw_vdi?", StringComparison.Ordinal) || query["format"] != "raw")
        {
            XenHttp.Answer(stream, 404, "");
            return;
        }

        if (ExportsAt is { } other)
        {
            XenHttp.Answer(stream, 302, "", $"location: https://{other}{target}\r\n");
            return;
        }

        if (!IsSession(query["session_id"]))
        {
            XenHttp.Answer(stream, 401, "");
            return;
        }

        // As the real one: without a length, and the end of the connection is the end of the disk.
        stream.Write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/octet-stream\r\n\r\n"u8);
        using (FileStream file = File.OpenRead(_storage.PathOf(_pool.Exported(query["vdi"]))))
        {
            byte[] some = new byte[1 << 20];
            long left = action == "short" ? file.Length / 2 : file.Length;
            while (left > 0 && file.Read(some, 0, (int)Math.Min(left, some.Length)) is > 0 and var count)
            {
                stream.Write(some, 0, count);
                left -= count;
            }
        }

        if (action == "long")
        {
            stream.Write(new byte[512]);
        }

        throw new IOException("closed");
    }
}
