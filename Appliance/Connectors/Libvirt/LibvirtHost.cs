using System.Runtime.InteropServices;
using System.Xml.Linq;
using Vmsweep.Appliance.Connectors.Datastore;
using static Vmsweep.Appliance.Connectors.Libvirt.LibvirtNative;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>A connection to libvirt, for a few calls: a daemon that is restarted between two of them is not noticed.</summary>
internal sealed unsafe class LibvirtHost : IDisposable
{
    /// <summary><c>VIR_FROM_RPC</c>: what comes of the wire, and of no hypervisor.</summary>
    private const int FromRpc = 7;

    // EPERM, EACCES.
    private const int NotPermitted = 1, AccessDenied = 13;

    private readonly nint _connection;

    private LibvirtHost(nint connection) => _connection = connection;

    /// <exception cref="ConnectorException">The library is missing, or nothing answers.</exception>
    public static LibvirtHost Open(string uri)
    {
        try
        {
            if (Initialize() < 0)
            {
                throw new ConnectorException("libvirt cannot be initialised");
            }

            Silence();
            nint connection = ConnectOpen(uri);
            return connection != 0 ? new LibvirtHost(connection) : throw Failure(uri);
        }
        catch (DllNotFoundException)
        {
            throw new ConnectorException("libvirt.so.0 is missing; install it with: apt-get install -y libvirt0");
        }
        catch (EntryPointNotFoundException e)
        {
            throw new ConnectorException("libvirt.so.0 is older than 6.0, which knows no backups", e);
        }
    }

    public string Hostname => Take(ConnectGetHostname(_connection)) ?? "";

    public string Versions
    {
        get
        {
            Check(ConnectGetLibVersion(_connection, out nuint library), "version");
            Check(ConnectGetVersion(_connection, out nuint hypervisor), "version");
            return $"libvirt {Dotted(library)}, hypervisor {Dotted(hypervisor)} on {Hostname}";

            static string Dotted(nuint version) => FormattableString.Invariant($"{version / 1_000_000}.{version / 1000 % 1000}.{version % 1000}");
        }
    }

    /// <summary>All domains, for the caller to dispose.</summary>
    public IReadOnlyList<LibvirtDomain> Domains()
    {
        int count = ConnectListAllDomains(_connection, out nint* domains, 0);
        Check(count, "list of domains");
        List<LibvirtDomain> all = [];
        for (int i = 0; i < count; i++)
        {
            all.Add(new LibvirtDomain(domains[i]));
        }

        NativeMemory.Free(domains);
        return all;
    }

    /// <summary>Null where there is none of the id.</summary>
    public LibvirtDomain? Domain(string uuid)
    {
        nint domain = DomainLookupByUuidString(_connection, uuid);
        return domain != 0 ? new LibvirtDomain(domain) : LastCode == ErrorNoDomain ? null : throw Failure("domain " + uuid);
    }

    public void Define(string xml)
    {
        nint domain = DomainDefineXml(_connection, xml);
        if (domain == 0)
        {
            throw Failure("definition of a domain");
        }

        _ = DomainFree(domain);
    }

    public void Dispose() => _ = ConnectClose(_connection);

    internal static int LastCode => GetLastError() is var error && error != null ? error->Code : 0;

    internal static LibvirtException Failure(string what)
    {
        VirError* error = GetLastError();
        string message = error != null && error->Message != null ? Marshal.PtrToStringUTF8((nint)error->Message)! : "no reason given";
        return new LibvirtException($"libvirt: {what}: {message}", error != null ? error->Code : 0) { IsLost = error != null && IsOfConnection(error) };
    }

    /// <summary>The connection to the daemon cannot be made or broke: it is not the account that may not use it.</summary>
    private static bool IsOfConnection(VirError* error) =>
        error->Domain == FromRpc && (error->Code == ErrorInternal || (error->Code == ErrorSystem && error->Number1 is not (NotPermitted or AccessDenied)));

    internal static void Check(int status, string what)
    {
        if (status < 0)
        {
            throw Failure(what);
        }
    }

    internal static string? Take(nint text)
    {
        if (text == 0)
        {
            return null;
        }

        string? taken = Marshal.PtrToStringUTF8(text);
        NativeMemory.Free((void*)text);
        return taken;
    }
}

/// <summary>A domain of an open <see cref="LibvirtHost"/>.</summary>
internal sealed class LibvirtDomain(nint domain) : IDisposable
{
    private const int Running = 1;
    private const int Blocked = 2;
    private const int Paused = 3;
    private const int ShuttingDown = 4;
    private const int Off = 5;
    private const int PmSuspended = 7;

    /// <summary>Why one is off: it goes on on another host.</summary>
    private const int OffMigrated = 4;

    /// <summary>Why one is paused: a read or write of its failed.</summary>
    private const int PausedByError = 5;

    /// <summary>The live domain's XML where there is one. A guest that is taken over may have no part in it, but it is parsed as strictly as any.</summary>
    public XElement Xml(bool inactive = false, bool secure = false)
    {
        string text = LibvirtHost.Take(DomainGetXmlDesc(domain, (inactive ? XmlInactive : 0) | (secure ? XmlSecure : 0))) ?? throw LibvirtHost.Failure("domain XML");
        return ConfigurationXml.Parse(System.Text.Encoding.UTF8.GetBytes(text), "domain XML");
    }

    /// <summary>As <see cref="InventoryVm.Power"/> has it.</summary>
    public string Power
    {
        get
        {
            LibvirtHost.Check(DomainGetState(domain, out int state, out _, 0), "state of a domain");
            return state switch
            {
                Running or Blocked or ShuttingDown => "running",
                Paused or PmSuspended => "paused",
                _ => DomainHasManagedSaveImage(domain, 0) > 0 ? "suspended" : "off",
            };
        }
    }

    public bool IsActive => Power is "running" or "paused";

    /// <summary>It was moved to another host, where its disks are in use.</summary>
    public bool IsMigrated
    {
        get
        {
            LibvirtHost.Check(DomainGetState(domain, out int state, out int reason, 0), "state of a domain");
            return state == Off && reason == OffMigrated;
        }
    }

    /// <summary>Writes the guest's memory as an ELF core. It stands still meanwhile, and goes on afterwards whatever becomes of who asked.</summary>
    public void DumpMemory(string path) => LibvirtHost.Check(DomainCoreDumpWithFormat(domain, path, 0, DumpLive | DumpMemoryOnly), "dump of the memory");

    /// <summary>Something is done to it that others wait for, such as a dump.</summary>
    public bool HasJob
    {
        get
        {
            // virDomainJobInfo: an int and eleven numbers of 64 bits.
            Span<ulong> info = stackalloc ulong[12];
            LibvirtHost.Check(DomainGetJobInfo(domain, info), "job of a domain");
            return (int)info[0] != 0;
        }
    }

    /// <param name="checkpoint">Made at the same moment; null for none.</param>
    public void BackupBegin(XElement backup, XElement? checkpoint = null) => LibvirtHost.Check(DomainBackupBegin(domain, backup.ToString(), checkpoint?.ToString(), 0), "begin of a backup");

    /// <summary>Removes a checkpoint if it is there.</summary>
    /// <param name="metadataOnly">Only what libvirt knows of it, not what QEMU or the image keeps.</param>
    public void DeleteCheckpoint(string name, bool metadataOnly = false)
    {
        nint checkpoint = DomainCheckpointLookupByName(domain, name, 0);
        if (checkpoint == 0)
        {
            if (LibvirtHost.LastCode != ErrorNoDomainCheckpoint)
            {
                throw LibvirtHost.Failure("checkpoint " + name);
            }

            return;
        }

        try
        {
            LibvirtHost.Check(DomainCheckpointDelete(checkpoint, metadataOnly ? CheckpointMetadataOnly : 0), "removal of the checkpoint " + name);
        }
        finally
        {
            _ = DomainCheckpointFree(checkpoint);
        }
    }

    /// <summary>The XML of the backup that is under way; null where none is.</summary>
    public string? Backup()
    {
        nint text = DomainBackupGetXmlDesc(domain, 0);
        return text != 0 ? LibvirtHost.Take(text)
            : LibvirtHost.LastCode is ErrorNoDomainBackup or ErrorOperationInvalid ? null
            : throw LibvirtHost.Failure("backup of a domain");
    }

    public void AbortJob() => LibvirtHost.Check(DomainAbortJob(domain), "end of a backup");

    public void SnapshotDisks(XElement snapshot)
    {
        nint made = DomainSnapshotCreateXml(domain, snapshot.ToString(), SnapshotDiskOnly | SnapshotNoMetadata | SnapshotAtomic);
        if (made == 0)
        {
            throw LibvirtHost.Failure("external snapshot");
        }

        _ = DomainSnapshotFree(made);
    }

    /// <summary>Merges a disk's top layer into the one below.</summary>
    public void CommitTop(string disk) => LibvirtHost.Check(DomainBlockCommit(domain, disk, null, null, 0, CommitShallow | CommitActive), "commit of " + disk);

    /// <summary>Null where no job runs on the disk; otherwise whether it has copied all.</summary>
    public bool? IsJobReady(string disk)
    {
        int status = DomainGetBlockJobInfo(domain, disk, out BlockJobInfo info, 0);
        LibvirtHost.Check(status, "job on " + disk);
        return status == 0 ? null : info.Current == info.End && info.End > 0;
    }

    public void Pivot(string disk) => LibvirtHost.Check(DomainBlockJobAbort(domain, disk, AbortPivot), "pivot of " + disk);

    public bool IsStoppedByError
    {
        get
        {
            LibvirtHost.Check(DomainGetState(domain, out int state, out int reason, 0), "state of a domain");
            return state == Paused && reason == PausedByError;
        }
    }

    public void Resume() => LibvirtHost.Check(DomainResume(domain), "resume");

    public void Suspend() => LibvirtHost.Check(DomainSuspend(domain), "suspend");

    public void Annotate(string xml, string key, string uri, bool live) =>
        LibvirtHost.Check(DomainSetMetadata(domain, MetadataElement, xml, key, uri, AffectConfig | (live ? AffectLive : 0)), "metadata");

    public void UpdateDevice(XElement device, bool live) => LibvirtHost.Check(DomainUpdateDeviceFlags(domain, device.ToString(), live ? AffectLive : AffectConfig), "change of a device");

    public void Dispose() => _ = DomainFree(domain);
}

/// <summary>libvirt refuses.</summary>
/// <param name="code">A <c>virErrorNumber</c>.</param>
internal sealed class LibvirtException(string message, int code) : IOException(message)
{
    public int Code => code;

    /// <summary>The daemon does not answer.</summary>
    public bool IsLost { get; init; }

    /// <summary>It met what it does not expect.</summary>
    public bool IsInternal => code == ErrorInternal;

    /// <summary>This version, or these disks, cannot do it, so that another way may.</summary>
    public bool IsUnsupported => code is ErrorNoSupport or ErrorConfigUnsupported or ErrorArgumentUnsupported or ErrorOperationUnsupported;
}
