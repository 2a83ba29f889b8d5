using System.Diagnostics;
using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Vmsweep.Golden;

namespace Vmsweep.Rigs;

/// <summary>
/// A vCenter: govmomi's simulator from Debian's package, built with own sources laid over it (<c>VSphere/</c>) that lock what a running VM writes, ask for a
/// session on <c>/folder</c>, refuse what is too much, make deltas, answer in pages and fail on demand.
/// </summary>
public sealed partial class VSphereRig : IDisposable
{
    public const string Account = "scanner";
    public const string Password = "secret & <word>";

    /// <summary>The VM that every rig has.</summary>
    public const string Machine = "DC0_C0_RP0_VM0";

    private const string Sources = "/usr/share/gocode/src/github.com/vmware/govmomi/simulator";

    private readonly Scratch _scratch = new();
    private readonly HttpClient _control;
    private readonly string[] _arguments;
    private readonly Daemon _server;

    public VSphereRig(params string[] arguments)
    {
        Tool.Shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null", _scratch.Folder);
        _arguments = ["-cert", _scratch["cert.pem"], "-key", _scratch["key.pem"], "-account", Account, "-password", Password, "-tmp", _scratch.Folder, .. arguments];
        _server = Start();
        using X509Certificate2 certificate = X509CertificateLoader.LoadCertificateFromFile(CaFile);
        Fingerprint = "sha256:" + Convert.ToHexString(SHA256.HashData(certificate.RawData));
        _control = new HttpClient(new SocketsHttpHandler { SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = (_, shown, _, _) => shown is not null && "sha256:" + Convert.ToHexString(SHA256.HashData(shown.GetRawCertData())) == Fingerprint } }) { Timeout = TimeSpan.FromSeconds(120) };
    }

    /// <summary>Host and port.</summary>
    public string Address { get; private set; } = "";

    /// <summary>Where the files of its datastore lie.</summary>
    public string Datastore { get; private set; } = "";

    public string Fingerprint { get; }

    public string CaFile => _scratch["cert.pem"];

    public string Folder => _scratch.Folder;

    /// <summary>Tells the rig to do something, and what it answers.</summary>
    public JsonElement Control(string what, params (string Key, string Value)[] parameters)
    {
        string query = string.Join('&', parameters.Select(p => $"{p.Key}={Uri.EscapeDataString(p.Value)}"));
        using HttpResponseMessage answer = _control.Send(new HttpRequestMessage(HttpMethod.Get, $"https://{Address}/rig/{what}?{query}"));
        answer.EnsureSuccessStatusCode();
        using Stream body = answer.Content.ReadAsStream();
        return JsonDocument.Parse(body).RootElement.Clone();
    }

    public JsonElement Vm(string name, params (string Key, string Value)[] changes) => Control("vm", [("name", name), .. changes]);

    /// <summary>The next requests of a kind fail in a way.</summary>
    /// <param name="what"><c>soap</c>, <c>folder</c>, <c>rest</c>.</param>
    public void Arm(string what, string action, string method = "", int times = 1, int skip = 0, string match = "") => Control(
        "arm",
        ("what", what),
        ("action", action),
        ("method", method),
        ("match", match),
        ("times", times.ToString(CultureInfo.InvariantCulture)),
        ("skip", skip.ToString(CultureInfo.InvariantCulture)));

    public void Reset() => Control("reset");

    /// <summary>Gives a VM's first disk real content: a raw image, in the two files that a host keeps a disk in.</summary>
    /// <param name="name">Of the descriptor below the datastore.</param>
    public void SetDisk(string vm, string raw, string name, int disk = 0)
    {
        long bytes = new FileInfo(raw).Length;
        MakeDisk(raw, name);
        Vm(vm, ("disk", disk.ToString(CultureInfo.InvariantCulture)), ("file", "[LocalDS_0] " + name), ("capacity", bytes.ToString(CultureInfo.InvariantCulture)));
    }

    public void MakeDisk(string raw, string name)
    {
        string descriptor = Path.Combine(Datastore, name), flat = descriptor.Replace(".vmdk", "-flat.vmdk", StringComparison.Ordinal);
        Directory.CreateDirectory(Path.GetDirectoryName(descriptor)!);
        Tool.Run("qemu-img", "convert", "-q", "-f", "raw", "-O", "vmdk", "-o", "subformat=monolithicFlat", raw, descriptor);

        // A host's own descriptors differ in their kind alone.
        string text = File.ReadAllText(descriptor).Replace("monolithicFlat", "vmfs", StringComparison.Ordinal);
        text = Extent().Replace(text, m => $"RW {m.Groups[1].Value} VMFS \"{Path.GetFileName(flat)}\"");
        File.WriteAllText(descriptor, text);
    }

    /// <summary>Gives a VM a tag, as an administrator does it over REST.</summary>
    public void Tag(string vm, string tag)
    {
        string session = Rest("POST", "session", null, null).GetString()!;
        string? category = Rest("POST", "tagging/category", $$"""{"create_spec":{"name":"c","description":"","cardinality":"MULTIPLE","associable_types":[]} }""", session).GetString();
        string id = Rest("POST", "tagging/tag", $$"""{"create_spec":{"name":{{JsonSerializer.Serialize(tag)}},"description":"","category_id":"{{category}}"} }""", session).GetString()!;
        string machine = Vm(vm).GetProperty("id").GetString()!;
        Rest("POST", $"tagging/tag-association/id:{id}?~action=attach", $$"""{"object_id":{"type":"VirtualMachine","id":"{{machine}}"} }""", session);
    }

    /// <summary>Category and name of each tag of a VM, as an administrator sees them.</summary>
    public IReadOnlyList<string> Tags(string vm) => [.. TagsOf(vm, Rest("POST", "session", null, null).GetString()!).Select(t => $"{t.Category}/{t.Name}").Order(StringComparer.Ordinal)];

    /// <summary>Takes the tags of a category off a VM, as an administrator does it.</summary>
    public void Untag(string vm, string category)
    {
        string session = Rest("POST", "session", null, null).GetString()!;
        string machine = Vm(vm).GetProperty("id").GetString()!;
        foreach ((string id, _, _) in TagsOf(vm, session).Where(t => t.Category == category))
        {
            Rest("POST", $"tagging/tag-association/id:{id}?~action=detach", $$"""{"object_id":{"type":"VirtualMachine","id":"{{machine}}"} }""", session);
        }
    }

    /// <summary>As a crash ends the server.</summary>
    public void Kill() => _server.Kill();

    public void Dispose()
    {
        _server.Dispose();
        _control.Dispose();
        _scratch.Dispose();
    }

    private List<(string Id, string Category, string Name)> TagsOf(string vm, string session)
    {
        string machine = Vm(vm).GetProperty("id").GetString()!;
        JsonElement attached = Rest("POST", "tagging/tag-association?~action=list-attached-tags", $$"""{"object_id":{"type":"VirtualMachine","id":"{{machine}}"} }""", session);
        List<(string, string, string)> tags = [];
        foreach (JsonElement id in attached.ValueKind == JsonValueKind.Array ? attached.EnumerateArray() : default(JsonElement.ArrayEnumerator))
        {
            JsonElement tag = Rest("GET", $"tagging/tag/id:{id}", null, session);
            tags.Add((id.GetString()!, Rest("GET", $"tagging/category/id:{tag.GetProperty("category_id")}", null, session).GetProperty("name").GetString()!, tag.GetProperty("name").GetString()!));
        }

        return tags;
    }

    private JsonElement Rest(string method, string path, string? body, string? session)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), $"https://{Address}/rest/com/vmware/cis/{path}");
        request.Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json");
        if (session is null)
        {
            request.Headers.Authorization = new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{Account}:{Password}")));
        }
        else
        {
            request.Headers.TryAddWithoutValidation("vmware-api-session-id", session);
        }

        using HttpResponseMessage answer = _control.Send(request);
        using var reader = new StreamReader(answer.Content.ReadAsStream());
        string said = reader.ReadToEnd();
        return !answer.IsSuccessStatusCode ? throw new InvalidOperationException($"{path}: {answer.StatusCode} {said}")
            : said.Length > 0 && JsonDocument.Parse(said).RootElement.TryGetProperty("value", out JsonElement value) ? value : default;
    }

    private Daemon Start()
    {
        Match? ready = null;
        string log = _scratch["ready"];
        var daemon = Daemon.Start(
            "bash",
            () => File.Exists(log) && (ready = Ready().Match(File.ReadAllText(log))).Success,
            ["-c", $"exec \"$0\" \"$@\" > '{log}'", Binary(), .. _arguments]);
        using JsonDocument said = JsonDocument.Parse(ready!.Groups[1].Value);
        Address = said.RootElement.GetProperty("address").GetString()!;
        Datastore = said.RootElement.GetProperty("datastore").GetString()!;
        return daemon;
    }

    /// <summary>Built once for each state of the sources; the next test run finds it.</summary>
    private static string Binary()
    {
        Tool.Find(Path.Combine(Sources, "simulator.go"));
        string own = Path.Combine(AppContext.BaseDirectory, "VSphere");
        string[] files = [.. Directory.GetFiles(own, "*.go", SearchOption.AllDirectories).Order(StringComparer.Ordinal)];
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (string file in files.Append(Path.Combine(Sources, "simulator.go")))
        {
            hash.AppendData(File.ReadAllBytes(file));
        }

        string binary = Path.Combine(Path.GetTempPath(), $"vmsweep-vsphere-rig-{Convert.ToHexString(hash.GetHashAndReset())[..16]}");
        if (!File.Exists(binary))
        {
            Build(own, files, binary);
        }

        return binary;
    }

    private static void Build(string own, string[] files, string binary)
    {
        using var scratch = new Scratch();
        var replaced = new Dictionary<string, string>(StringComparer.Ordinal);

        // Methods of the simulator that ours stand in for, and call, get another name.
        foreach ((string file, string method) in (ReadOnlySpan<(string, string)>)[("virtual_machine.go", "CreateSnapshotTask"), ("virtual_machine.go", "ReconfigVMTask"), ("snapshot.go", "RemoveSnapshotTask"), ("property_collector.go", "RetrievePropertiesEx")])
        {
            string text = File.ReadAllText(replaced.GetValueOrDefault(Path.Combine(Sources, file), Path.Combine(Sources, file)));
            string renamed = text.Replace($") {method}(", $") {char.ToLowerInvariant(method[0])}{method[1..]}OfSimulator(", StringComparison.Ordinal);
            File.WriteAllText(scratch[file], renamed != text ? renamed : throw new InvalidOperationException($"{file} has no {method}"));
            replaced[Path.Combine(Sources, file)] = scratch[file];
        }

        foreach (string file in files.Where(f => Path.GetDirectoryName(f) != own))
        {
            replaced[Path.Combine(Sources, Path.GetFileName(file))] = file;
        }

        File.WriteAllText(scratch["overlay.json"], JsonSerializer.Serialize(new Dictionary<string, object> { ["Replace"] = replaced }));
        Tool.Find("go");
        Tool.Shell(
            $"""
            export GO111MODULE=off GOPATH=/usr/share/gocode CGO_ENABLED=0 GOFLAGS= HOME="$HOME"
            go build -overlay overlay.json -trimpath -ldflags '-s -w' -o rig '{Path.Combine(own, "main.go")}'
            mv rig '{binary}.{Environment.ProcessId}'
            mv '{binary}.{Environment.ProcessId}' '{binary}'
            """,
            scratch.Folder);
    }

    [GeneratedRegex("READY (\\{.*\\})\n")]
    private static partial Regex Ready();

    [GeneratedRegex("RW (\\d+) FLAT \"[^\"]*\" 0")]
    private static partial Regex Extent();
}
