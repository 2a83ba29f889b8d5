using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Vmsweep.Golden;

namespace Vmsweep.Rigs.HyperV;

/// <summary>
/// Hosts with Hyper-V, as far as messages tell: WS-Management over HTTPS with the documented objects, methods and jobs, written from their specifications
/// because no such host runs on Linux. A checkpoint really makes a differencing disk, into which the guest writes from then on, and its removal merges it.
/// </summary>
public sealed class HyperVRig : IDisposable
{
    public const string Account = "scanner";
    public const string Password = "secret & <word>";

    /// <summary>How a storage path of every host begins; its files lie in <see cref="Storage"/>.</summary>
    public const string Volume = @"C:\ClusterStorage\Volume1";

    private readonly Scratch _scratch = new();
    private readonly List<HyperVServer> _servers = [];
    private readonly List<Fault> _faults = [];

    /// <param name="overlay">Makes a differencing disk over another, with bytes of the guest's: parent, its path on the host, the new file, offset, bytes.</param>
    /// <param name="nodes">Names of the cluster's nodes; none: one host alone.</param>
    public HyperVRig(Action<string, string, string, long, byte[]> overlay, params IReadOnlyList<string> nodes)
    {
        Overlay = overlay;
        IsCluster = nodes.Count > 0;
        Tool.Shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null", _scratch.Folder);
        using X509Certificate2 pem = X509Certificate2.CreateFromPemFile(CaFile, _scratch["key.pem"]);
        Certificate = X509CertificateLoader.LoadPkcs12(pem.Export(X509ContentType.Pkcs12), null);
        Fingerprint = "sha256:" + Convert.ToHexString(SHA256.HashData(Certificate.RawData));
        Directory.CreateDirectory(Storage);
        foreach (string node in nodes.DefaultIfEmpty("HOST1"))
        {
            _servers.Add(new HyperVServer(this, node));
        }
    }

    public string Folder => _scratch.Folder;

    public string Storage => _scratch["volume1"];

    public string CaFile => _scratch["cert.pem"];

    public string Fingerprint { get; }

    public IReadOnlyList<string> Nodes => [.. _servers.Select(s => s.Node)];

    /// <summary>Nodes that the cluster says are down, and that do not answer.</summary>
    public HashSet<string> Down { get; } = new(StringComparer.Ordinal);

    public List<HyperVMachine> Machines { get; } = [];

    /// <summary>Calls of methods and kinds of messages, and how often each came.</summary>
    public ConcurrentDictionary<string, int> Calls { get; } = new(StringComparer.Ordinal);

    /// <summary>How long jobs take.</summary>
    public TimeSpan JobTime { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>Objects of one answer.</summary>
    public int PageItems { get; set; } = 200;

    /// <summary>Production checkpoints fail.</summary>
    public bool IsGuestDeaf { get; set; }

    /// <summary>Merging does not begin.</summary>
    public bool IsMergeStuck { get; set; }

    /// <summary>Bytes of a disk that one answer about changes covers at most.</summary>
    public long MostProcessed { get; set; } = long.MaxValue;

    /// <summary>Disks outside of <see cref="Storage"/> that the host can tell of.</summary>
    public HashSet<string> Elsewhere { get; } = new(StringComparer.Ordinal);

    /// <summary>Names that are given at the wish itself are taken.</summary>
    public bool TakesNames { get; set; }

    internal bool IsCluster { get; }

    internal X509Certificate2 Certificate { get; }

    internal Action<string, string, string, long, byte[]> Overlay { get; }

    /// <summary>Held while the world is looked at or changed.</summary>
    public Lock World { get; } = new();

    internal Dictionary<string, HyperVJob> Jobs { get; } = new(StringComparer.Ordinal);

    public string AddressOf(string node) => _servers.Single(s => s.Node == node).Address;

    /// <summary>Without TLS, for a web server in front that has asked for the account.</summary>
    public int PlainPort(string node) => _servers.Single(s => s.Node == node).PlainPort;

    /// <summary>The next messages fail in a way.</summary>
    /// <param name="what">A method's or message's name; empty for any.</param>
    /// <param name="action"><c>status:N</c>, <c>fault:KIND</c>, <c>close</c>, <c>lost</c>, <c>hang</c>, <c>delay:MS</c>, <c>delayafter:MS</c>, <c>garbage</c>, <c>bomb</c>, <c>external</c>, <c>deep</c>, <c>endless</c>, <c>short</c>, <c>job</c>.</param>
    public void Arm(string what, string action, int times = 1, int skip = 0)
    {
        lock (_faults)
        {
            _faults.Add(new Fault(what, action) { Times = times, Skip = skip });
        }
    }

    public void Reset()
    {
        lock (_faults)
        {
            _faults.Clear();
        }

        Calls.Clear();
        (JobTime, PageItems, IsGuestDeaf, IsMergeStuck, TakesNames, MostProcessed) = (TimeSpan.FromMilliseconds(100), 200, false, false, false, long.MaxValue);
        Down.Clear();
    }

    /// <summary>A file of a host's path.</summary>
    public string FileOf(string path) => Path.Combine(Storage, path[(Volume.Length + 1)..].Replace('\\', '/'));

    public HyperVMachine Add(string name, string node, params IReadOnlyList<string> disks)
    {
        var machine = new HyperVMachine(this, name, node);
        machine.Disks.AddRange(disks);
        lock (World)
        {
            Machines.Add(machine);
        }

        return machine;
    }

    /// <summary>Takes all machines away. A job that still runs for one of them makes nothing any more.</summary>
    public void Clear()
    {
        lock (World)
        {
            Machines.Clear();
        }
    }

    public void Dispose()
    {
        _servers.ForEach(s => s.Dispose());
        Certificate.Dispose();
        _scratch.Dispose();
    }

    internal string? FaultOf(string what)
    {
        lock (_faults)
        {
            foreach (Fault fault in _faults.Where(f => f.What.Length == 0 || f.What == what))
            {
                if (fault.Skip > 0)
                {
                    fault.Skip--;
                }
                else if (fault.Times > 0)
                {
                    fault.Times--;
                    return fault.Action;
                }
            }
        }

        return null;
    }

    private sealed record Fault(string What, string Action)
    {
        public int Times { get; set; }

        public int Skip { get; set; }
    }
}

/// <summary>A job: what it does is done when its time has come, whatever becomes of who asked for it.</summary>
internal sealed class HyperVJob
{
    public required string Id { get; init; }

    public required Task Work { get; init; }

    public string? Error { get; set; }

    /// <summary><c>InstanceID</c> of what it made, with its class.</summary>
    public (string Type, string Id)? Made { get; set; }

    public string State => !Work.IsCompleted ? "4" : Error is null ? "7" : "10";
}

/// <summary>A VM.</summary>
public sealed class HyperVMachine(HyperVRig rig, string name, string node)
{
    public string Id { get; } = Guid.NewGuid().ToString("D").ToUpperInvariant();

    public string Name { get; set; } = name;

    public string Node { get; set; } = node;

    /// <summary><c>EnabledState</c>.</summary>
    public string State { get; set; } = "2";

    /// <summary>Second value of <c>OperationalStatus</c>.</summary>
    public string? Operation { get; set; }

    public string Notes { get; set; } = "";

    /// <summary>Paths of its top images now.</summary>
    public List<string> Disks { get; } = [];

    /// <summary>Disks of the host.</summary>
    public List<string> Physical { get; } = [];

    public bool IsConnected { get; set; } = true;

    public List<HyperVCheckpoint> Checkpoints { get; } = [];

    public List<HyperVReference> References { get; } = [];

    /// <summary>What the guest wrote to its first disk, with the reference points that have it not.</summary>
    public List<(long Offset, int Length)> Written { get; } = [];

    /// <summary>What goes into the next differencing disk: bytes that the guest writes after the checkpoint.</summary>
    public (long Offset, byte[] Bytes) Next { get; set; } = (0, []);

    public string SettingsId => "Microsoft:" + Id;

    /// <summary>As the host does it: the top of each disk stands still, and an empty differencing disk takes what is written.</summary>
    public HyperVCheckpoint Checkpoint(string checkpoint, bool isRecovery)
    {
        lock (rig.World)
        {
            if (!rig.Machines.Contains(this))
            {
                throw new InvalidOperationException($"{Name} is gone");
            }

            var made = new HyperVCheckpoint(checkpoint, isRecovery, [.. Disks], Written.Count);
            for (int i = 0; i < Disks.Count; i++)
            {
                string stem = Disks[i].Split('\\')[^1].Split('.')[0].Split('_')[0];
                string overlay = $@"{Disks[i][..Disks[i].LastIndexOf('\\')]}\{stem}_{Guid.NewGuid():D}.avhdx";
                rig.Overlay(rig.FileOf(Disks[i]), Disks[i], rig.FileOf(overlay), i == 0 ? Next.Offset : 0, i == 0 ? Next.Bytes : []);
                made.Leaves.Add(overlay);
                Disks[i] = overlay;
            }

            Checkpoints.Add(made);
            return made;
        }
    }

    /// <summary>Takes a checkpoint away and merges the images above it.</summary>
    public void Remove(HyperVCheckpoint checkpoint)
    {
        lock (rig.World)
        {
            Checkpoints.Remove(checkpoint);
            for (int i = 0; i < Disks.Count && !rig.IsMergeStuck; i++)
            {
                if (checkpoint.Leaves.Contains(Disks[i]))
                {
                    File.Delete(rig.FileOf(Disks[i]));
                    Disks[i] = checkpoint.Tops[i];
                }
            }
        }
    }

    /// <summary>What lies over what, as far as the rig made it.</summary>
    internal string ParentOf(string path) => rig.Machines.SelectMany(m => m.History).FirstOrDefault(h => h.Leaf == path).Top ?? "";

    internal IEnumerable<(string Leaf, string Top)> History => Checkpoints.SelectMany(c => c.Leaves.Zip(c.Tops)).Concat(Linked);

    /// <summary>Differencing disks that were there from the beginning.</summary>
    public List<(string Leaf, string Top)> Linked { get; } = [];
}

/// <param name="Tops">The images that stand still with it.</param>
/// <param name="Written">How many writes of the guest it has.</param>
public sealed record HyperVCheckpoint(string Name, bool IsRecovery, IReadOnlyList<string> Tops, int Written)
{
    public string Id { get; } = "Microsoft:" + Guid.NewGuid().ToString("D").ToUpperInvariant();

    public string Name { get; set; } = Name;

    public List<string> Leaves { get; } = [];

    public string Created { get; } = TimeProvider.System.GetUtcNow().ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);
}

/// <param name="Written">How many writes of the guest came before it.</param>
public sealed record HyperVReference(string Id, string Rct, int Written);
