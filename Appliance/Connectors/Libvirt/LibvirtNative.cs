using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Vmsweep.Appliance.Connectors.Libvirt;

/// <summary>The calls of <c>libvirt.so.0</c> that are used. Spec: libvirt.org, "API Reference"; the numbers are its enumerations'.</summary>
internal static unsafe partial class LibvirtNative
{
    private const string Library = "libvirt.so.0";

    public const uint XmlSecure = 1;
    public const uint XmlInactive = 2;
    public const uint AffectLive = 1;
    public const uint AffectConfig = 2;
    public const int MetadataElement = 2;
    public const uint DumpLive = 1 << 1;
    public const uint DumpMemoryOnly = 1 << 4;
    public const uint SnapshotNoMetadata = 1 << 2;
    public const uint SnapshotDiskOnly = 1 << 4;
    public const uint SnapshotAtomic = 1 << 7;
    public const uint CommitShallow = 1;
    public const uint CommitActive = 4;
    public const uint AbortPivot = 2;
    public const uint CheckpointMetadataOnly = 2;

    public const int ErrorInternal = 1;
    public const int ErrorSystem = 38;
    public const int ErrorNoDomain = 42;
    public const int ErrorOperationInvalid = 55;
    public const int ErrorNoDomainCheckpoint = 103;
    public const int ErrorNoDomainBackup = 104;

    // What a driver or a kind of disk cannot do.
    public const int ErrorNoSupport = 3;
    public const int ErrorConfigUnsupported = 67;
    public const int ErrorArgumentUnsupported = 74;
    public const int ErrorOperationUnsupported = 84;

    [LibraryImport(Library, EntryPoint = "virInitialize")]
    public static partial int Initialize();

    [LibraryImport(Library, EntryPoint = "virSetErrorFunc")]
    private static partial void SetErrorFunc(nint data, delegate* unmanaged[Cdecl]<nint, nint, void> handler);

    [LibraryImport(Library, EntryPoint = "virGetLastError")]
    public static partial VirError* GetLastError();

    [LibraryImport(Library, EntryPoint = "virConnectOpen", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint ConnectOpen(string uri);

    [LibraryImport(Library, EntryPoint = "virConnectClose")]
    public static partial int ConnectClose(nint connection);

    [LibraryImport(Library, EntryPoint = "virConnectGetLibVersion")]
    public static partial int ConnectGetLibVersion(nint connection, out nuint version);

    [LibraryImport(Library, EntryPoint = "virConnectGetVersion")]
    public static partial int ConnectGetVersion(nint connection, out nuint version);

    [LibraryImport(Library, EntryPoint = "virConnectGetHostname")]
    public static partial nint ConnectGetHostname(nint connection);

    [LibraryImport(Library, EntryPoint = "virConnectListAllDomains")]
    public static partial int ConnectListAllDomains(nint connection, out nint* domains, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainLookupByUUIDString", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DomainLookupByUuidString(nint connection, string uuid);

    [LibraryImport(Library, EntryPoint = "virDomainDefineXML", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DomainDefineXml(nint connection, string xml);

    [LibraryImport(Library, EntryPoint = "virDomainFree")]
    public static partial int DomainFree(nint domain);

    [LibraryImport(Library, EntryPoint = "virDomainGetState")]
    public static partial int DomainGetState(nint domain, out int state, out int reason, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainGetXMLDesc")]
    public static partial nint DomainGetXmlDesc(nint domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainHasManagedSaveImage")]
    public static partial int DomainHasManagedSaveImage(nint domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainBackupBegin", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainBackupBegin(nint domain, string backup, string? checkpoint, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainBackupGetXMLDesc")]
    public static partial nint DomainBackupGetXmlDesc(nint domain, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainCheckpointLookupByName", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DomainCheckpointLookupByName(nint domain, string name, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainCheckpointDelete")]
    public static partial int DomainCheckpointDelete(nint checkpoint, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainCheckpointFree")]
    public static partial int DomainCheckpointFree(nint checkpoint);

    [LibraryImport(Library, EntryPoint = "virDomainAbortJob")]
    public static partial int DomainAbortJob(nint domain);

    [LibraryImport(Library, EntryPoint = "virDomainSnapshotCreateXML", StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint DomainSnapshotCreateXml(nint domain, string xml, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainSnapshotFree")]
    public static partial int DomainSnapshotFree(nint snapshot);

    [LibraryImport(Library, EntryPoint = "virDomainBlockCommit", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainBlockCommit(nint domain, string disk, string? bottom, string? top, nuint bandwidth, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainBlockJobAbort", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainBlockJobAbort(nint domain, string disk, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainGetBlockJobInfo", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainGetBlockJobInfo(nint domain, string disk, out BlockJobInfo info, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainResume")]
    public static partial int DomainResume(nint domain);

    [LibraryImport(Library, EntryPoint = "virDomainSuspend")]
    public static partial int DomainSuspend(nint domain);

    [LibraryImport(Library, EntryPoint = "virDomainSetMetadata", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainSetMetadata(nint domain, int type, string metadata, string key, string uri, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainUpdateDeviceFlags", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainUpdateDeviceFlags(nint domain, string xml, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainCoreDumpWithFormat", StringMarshalling = StringMarshalling.Utf8)]
    public static partial int DomainCoreDumpWithFormat(nint domain, string path, uint format, uint flags);

    [LibraryImport(Library, EntryPoint = "virDomainGetJobInfo")]
    public static partial int DomainGetJobInfo(nint domain, Span<ulong> info);

    /// <summary>Errors are asked for after each call; the library's own handler would print them.</summary>
    public static void Silence() => SetErrorFunc(0, &Ignore);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Ignore(nint data, nint error)
    {
    }

    /// <summary><c>virError</c>, its first fields.</summary>
    internal struct VirError
    {
        public int Code;
        public int Domain;
        public byte* Message;
        public int Level;
        public nint Connection;
        public nint Guest;
        public nint Text1;
        public nint Text2;
        public nint Text3;

        /// <summary>Of <see cref="ErrorSystem"/>: <c>errno</c>.</summary>
        public int Number1;
    }

    /// <summary><c>virDomainBlockJobInfo</c>.</summary>
    internal struct BlockJobInfo
    {
        public int Type;
        public nuint Bandwidth;
        public ulong Current;
        public ulong End;
    }
}
