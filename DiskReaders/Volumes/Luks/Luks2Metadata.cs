using System.Text.Json;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.Volumes.Luks;

/// <summary>"JSON area", LUKS2 On-Disk Format Specification 1.1, sections 3.2 and 4: key slots, digests, segments, tokens, config.</summary>
internal static class Luks2Metadata
{
    public const string Structure = "LUKS2 JSON area";

    /// <summary>A digest shorter than this would call wrong keys right. SHA-1, the shortest hash allowed, has 20 bytes.</summary>
    private const int LeastDigestBytes = 16;

    /// <param name="header">The binary header before it.</param>
    /// <param name="area">The area: text, then zeros.</param>
    public static LuksHeader Read(Luks2BinaryHeader header, ReadOnlySpan<byte> area)
    {
        long offset = header.Offset + Luks2BinaryHeader.Size;
        int end = area.IndexOf((byte)0);
        byte[] text = (end < 0 ? area : area[..end]).ToArray();
        try
        {
            CheckTokens(text, offset);
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = LuksLimits.MostJsonDepth });
            return Read(header, new JsonView(document.RootElement, "", offset));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // Escaped surrogates without their other half are found when a text is asked for, as InvalidOperationException.
            throw new DiskFormatException(Fault.Corrupt, Structure, offset, "not JSON: " + e.Message);
        }
    }

    /// <summary>A document keeps some bytes for each value: they are counted before.</summary>
    private static void CheckTokens(ReadOnlySpan<byte> text, long offset)
    {
        var reader = new Utf8JsonReader(text, new JsonReaderOptions { MaxDepth = LuksLimits.MostJsonDepth });
        for (int tokens = 0; reader.Read(); tokens++)
        {
            if (tokens >= LuksLimits.MostJsonTokens)
            {
                throw new DiskFormatException(Fault.Limit, Structure, offset, $"more than {LuksLimits.MostJsonTokens} values");
            }
        }
    }

    private static LuksHeader Read(Luks2BinaryHeader header, JsonView root)
    {
        JsonView config = root.Object("config");
        config.Require(config.Long("json_size") == header.HeaderBytes - Luks2BinaryHeader.Size, "json_size");
        long keySlotsBytes = config.Long("keyslots_size");
        long keySlotsAt = 2 * header.HeaderBytes;
        config.Require(keySlotsBytes <= long.MaxValue - keySlotsAt, "keyslots_size");
        long endOfMetadata = keySlotsAt + keySlotsBytes;

        List<(int Number, JsonView View)> slots = root.Numbered("keyslots");
        List<(int Number, JsonView View)> segments = root.Numbered("segments");
        var read = new LuksHeader(2, header.Uuid, header.Label)
        {
            EndOfMetadata = endOfMetadata,
            Slots = [.. slots.Select(s => Slot(s.Number, s.View, keySlotsAt, endOfMetadata))],
            Digests = [.. root.Numbered("digests").Select(d => Digest(d.Number, d.View)).OfType<LuksDigest>()],
            Segments = [.. segments.Where(s => !IsBackup(s.View)).Select(s => Segment(s.Number, s.View))],
            Tokens = [.. root.Numbered("tokens").Select(t => new LuksToken(t.View.Text("type"), t.View.Numbers("keyslots")))],
            Fault = WhyUnreadable(config, slots, segments),
        };
        if (header.Subsystem.Length > 0)
        {
            read.Notes.Add($"subsystem \"{header.Subsystem}\"");
        }

        int[] bound = [.. read.Digests.Where(d => d.Segments.Count > 0).SelectMany(d => d.Slots)];
        string unbound = string.Join(", ", read.Slots.Where(s => !bound.Contains(s.Number)).Select(s => s.Number));
        if (unbound.Length > 0)
        {
            read.Notes.Add($"key slots that belong to no segment: {unbound}");
        }

        return read;
    }

    /// <summary>What only a newer, or another, implementation may read; null when nothing is.</summary>
    private static DiskFormatException? WhyUnreadable(JsonView config, List<(int Number, JsonView View)> slots, List<(int Number, JsonView View)> segments)
    {
        List<string> requirements = config.Has("requirements") ? config.Object("requirements").Texts("mandatory") : [];
        bool inProgress = requirements.Exists(r => r.Contains("reencrypt", StringComparison.Ordinal))
            || slots.Exists(s => s.View.Text("type") == "reencrypt")
            || segments.Exists(s => s.View.Texts("flags") is { Count: > 0 } flags && (flags.Contains("in-reencryption") || IsBackup(s.View)));
        if (inProgress)
        {
            return Unsupported("re-encryption is in progress: parts are under the old key, parts under the new one");
        }

        if (requirements.Count > 0)
        {
            return Unsupported($"it requires {string.Join(", ", requirements)}");
        }

        foreach ((_, JsonView segment) in segments)
        {
            string type = segment.Text("type");
            if (type.StartsWith("hw-opal", StringComparison.Ordinal))
            {
                return Unsupported($"segment of type {type}: the drive itself encrypts (OPAL)");
            }

            if (type is not ("crypt" or "linear"))
            {
                return Unsupported($"segment of type {type}");
            }

            if (segment.Has("integrity"))
            {
                return Unsupported($"authenticated encryption by dm-integrity, {segment.Object("integrity").Text("type")}");
            }
        }

        return null;

        static DiskFormatException Unsupported(string detail) => new(Fault.Unsupported, Structure, -1, detail);
    }

    private static bool IsBackup(JsonView segment) => segment.Texts("flags").Exists(f => f.StartsWith("backup-", StringComparison.Ordinal));

    private static LuksKeySlot Slot(int number, JsonView v, long from, long end)
    {
        try
        {
            string type = v.Text("type");
            if (type != "luks2")
            {
                return new LuksKeySlot(number) { Fault = new DiskFormatException(Fault.Unsupported, Structure, -1, $"key slot of type {type}") };
            }

            int keyBytes = v.Int("key_size", 1, LuksLimits.MostKeyBytes);
            JsonView area = v.Object("area");
            JsonView split = v.Object("af");
            area.Require(area.Text("type") == "raw", "type");
            split.Require(split.Text("type") == "luks1", "type");
            string splitHash = split.Text("hash");
            LuksHash.Of(splitHash, Structure, -1);
            int stripes = split.Int("stripes", 1, int.MaxValue);
            if (stripes > LuksLimits.MostSplitBytes / keyBytes)
            {
                throw new DiskFormatException(Fault.Limit, Structure, -1, $"key slot {number} has {stripes} stripes");
            }

            long at = area.Long("offset");
            long size = area.Long("size");
            area.Require(at >= from && size <= end - from && at <= end - size, "offset: not in the key slots area");
            area.Require((long)stripes * keyBytes <= size, "size");
            int areaKeyBytes = area.Int("key_size", 1, LuksLimits.MostKeyBytes);
            string encryption = area.Text("encryption");
            return new LuksKeySlot(number, v.Has("priority") ? v.Int("priority", 0, 2) : 1)
            {
                KeyBytes = keyBytes,
                Kdf = Kdf(v.Object("kdf")),
                Stripes = stripes,
                SplitHash = splitHash,
                Encryption = encryption,
                AreaKeyBytes = areaKeyBytes,
                AreaOffset = at,
                Fault = LuksCipher.FaultOf(encryption, areaKeyBytes, Structure, -1),
            };
        }
        catch (DiskFormatException e)
        {
            // One slot may be faulty while another one opens the volume.
            return new LuksKeySlot(number) { Fault = e };
        }
    }

    private static KeyDerivation Kdf(JsonView v)
    {
        string type = v.Text("type");
        byte[] salt = v.Base64("salt");
        KeyDerivation kdf = type == KeyDerivation.Pbkdf2
            ? new KeyDerivation(type, v.Int("iterations", 1, int.MaxValue), salt, v.Text("hash"))
            : type is KeyDerivation.Argon2i or KeyDerivation.Argon2id
                ? new KeyDerivation(type, v.Int("time", 1, int.MaxValue), salt, "", v.Int("memory", 1, int.MaxValue), v.Int("cpus", 1, int.MaxValue))
                : new KeyDerivation(type, 0, salt);
        return kdf.Checked(Structure, -1);
    }

    /// <summary>A digest; null for one of a type that is not known.</summary>
    private static LuksDigest? Digest(int number, JsonView v)
    {
        if (v.Text("type") != KeyDerivation.Pbkdf2)
        {
            return null;
        }

        byte[] value = v.Base64("digest");
        v.Require(value.Length >= LeastDigestBytes, "digest");
        return new LuksDigest(number, v.Numbers("keyslots"), v.Numbers("segments"), Kdf(v), value);
    }

    private static LuksSegment Segment(int number, JsonView v)
    {
        long offset = v.Long("offset");
        long? size = v.Text("size") == "dynamic" ? null : v.Long("size");
        v.Require(offset % LuksCipher.IvUnitBytes == 0, "offset");
        v.Require(size is null || size > 0, "size");
        if (v.Text("type") != "crypt")
        {
            return new LuksSegment(number, offset, size, null, 0, LuksCipher.IvUnitBytes);
        }

        int sectorBytes = v.Int("sector_size", 512, 4096);
        v.Require(sectorBytes is 512 or 1024 or 2048 or 4096, "sector_size");
        v.Require(size is null || size % sectorBytes == 0, "size");
        return new LuksSegment(number, offset, size, v.Text("encryption"), v.Long("iv_tweak"), sectorBytes);
    }
}
