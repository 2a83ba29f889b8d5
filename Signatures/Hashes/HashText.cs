namespace Vmsweep.Signatures.Hashes;

/// <summary>Tells what is no list of hashes in text by its first bytes, so that the message says what to do instead of naming every line.</summary>
internal static class HashText
{
    /// <summary>Null for what may be a list; otherwise why it is none.</summary>
    public static string? WhyNot(ReadOnlySpan<byte> head) => head switch
    {
        _ when HashSetLayout.HasMagic(head) => "it is a compiled set; give it as it is, it cannot be part of another",
        _ when head.StartsWith("SQLite format 3\0"u8) => "it is an SQLite database (NSRL RDSv3); export its hashes as text: sqlite3 -csv RDS.db 'SELECT DISTINCT sha256 FROM FILE'",
        [0x1F, 0x8B, ..] or [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', ..] or [0x28, 0xB5, 0x2F, 0xFD, ..] or [(byte)'P', (byte)'K', 3, 4, ..]
            or [(byte)'7', (byte)'z', 0xBC, 0xAF, ..] or [(byte)'B', (byte)'Z', (byte)'h', ..] => "it is compressed; unpack it first",
        [0xFF, 0xFE, ..] or [0xFE, 0xFF, ..] or [not 0, 0, not 0, 0, ..] or [0, not 0, 0, not 0, ..] => "it is text in UTF-16; convert it first: iconv -f UTF-16 -t UTF-8",
        _ => null,
    };
}
