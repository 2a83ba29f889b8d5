namespace Vmsweep.DiskReaders.FileSystems.Xfs;

/// <summary><c>sb_versionnum</c>: the lowest four bits are the version.</summary>
[Flags]
internal enum XfsVersionBits : ushort
{
    DirV2 = 0x2000,
    MoreBits = 0x8000,
}

/// <summary><c>sb_features2</c>.</summary>
[Flags]
internal enum XfsFeatures2 : uint
{
    FileType = 0x200,
}

/// <summary><c>sb_features_incompat</c>.</summary>
[Flags]
internal enum XfsIncompat : uint
{
    FileType = 0x1,
    SparseInodes = 0x2,
    MetaUuid = 0x4,
    BigTime = 0x8,
    NeedsRepair = 0x10,
    LargeExtentCounts = 0x20,
    ExchangeRange = 0x40,
    ParentPointers = 0x80,
    MetadataDirectory = 0x100,
}

/// <summary><c>sb_features_log_incompat</c>.</summary>
[Flags]
internal enum XfsLogIncompat : uint
{
    LoggedAttributes = 0x1,
}
