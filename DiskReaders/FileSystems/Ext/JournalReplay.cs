using System.Buffers.Binary;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ext;

/// <summary>
/// Finds what a replay of the journal would write. Specification: "ext4 Data Structures and Algorithms", "Journal (jbd2)". As recovery
/// does, three steps: find the last complete transaction, collect revocations, then take the blocks of each transaction in order.
/// </summary>
internal sealed class JournalReplay
{
    private const int HeaderBytes = 12;
    private const int TailBytes = 4;
    private const int RevokeHeaderBytes = 16;
    private const uint Descriptor = 1;
    private const uint Commit = 2;
    private const uint Revoke = 5;
    private const uint FlagEscape = 1;
    private const uint FlagSameUuid = 2;
    private const uint FlagLast = 8;
    private const int CommitChecksum = 0x10;
    private const byte ChecksumTypeCrc32 = 1;

    // A replayed or revoked block costs some 64 bytes of memory that is not rented.
    private const int BytesPerEntry = 64;

    private readonly ExtVolume _volume;
    private readonly IGapSink _gaps;
    private readonly IBlockSource _log;
    private readonly IExtentMap _map;
    private readonly JournalSuperblock _super;
    private readonly int _blockBytes;
    private readonly long _mostEntries;
    private readonly Dictionary<long, uint> _revoked = [];
    private readonly Dictionary<long, JournalBlock> _replayed = [];
    private readonly HashSet<uint> _reported = [];

    public JournalReplay(ExtVolume volume, IGapSink gaps, IBlockSource log, IExtentMap map, JournalSuperblock super)
    {
        _volume = volume;
        _gaps = gaps;
        _log = log;
        _map = map;
        _super = super;
        _blockBytes = volume.Super.BlockBytes;
        _mostEntries = volume.Context.Budget.CeilingBytes / BytesPerEntry;
    }

    private enum Pass
    {
        Scan,
        Revoke,
        Replay,
    }

    /// <summary>Number of complete transactions.</summary>
    public uint Transactions { get; private set; }

    /// <summary>The transaction that would follow the last complete one.</summary>
    public uint NextTransaction { get; private set; }

    /// <summary>The volume's blocks that the journal holds newer.</summary>
    public IReadOnlyDictionary<long, JournalBlock> Blocks => _replayed;

    public void Run()
    {
        NextTransaction = _super.Sequence;
        if (_super.Start == 0)
        {
            return;
        }

        using RentedBuffer buffer = _volume.Context.Budget.Rent(_blockBytes);
        using RentedBuffer data = _volume.Context.Budget.Rent(_blockBytes);
        NextTransaction = Walk(Pass.Scan, buffer.Span, data.Span, 0);
        Transactions = unchecked(NextTransaction - _super.Sequence);
        _ = Walk(Pass.Revoke, buffer.Span, data.Span, NextTransaction);
        _ = Walk(Pass.Replay, buffer.Span, data.Span, NextTransaction);
    }

    private uint Walk(Pass pass, Span<byte> block, Span<byte> data, uint end)
    {
        uint sequence = _super.Sequence;
        uint at = _super.Start;
        uint crc = uint.MaxValue;
        for (long steps = 0; steps < _super.Last; steps++)
        {
            _volume.Context.ThrowIfCancelled();
            if (pass != Pass.Scan && sequence == end)
            {
                break;
            }

            uint here = at;
            _log.Read((long)here * _blockBytes, block);
            var v = new BeView(block, "jbd2 block", (long)here * _blockBytes);
            if (v.U32(0) != JournalSuperblock.Magic || v.U32(8) != sequence)
            {
                break;
            }

            at = Next(at, 1);
            uint type = v.U32(4);
            if (type == Descriptor)
            {
                if (_super.HasChecksum && !BlockChecksumGood(block))
                {
                    Report(pass, here, "descriptor block checksum");
                    break;
                }

                bool legacy = pass == Pass.Scan && _super.Compat.HasFlag(JournalCompat.Checksum);
                crc = legacy ? Crc32Be.Update(crc, block) : crc;
                steps += Tags(pass, v, sequence, at, data, legacy, ref crc, out uint blocks);
                at = Next(at, blocks);
            }
            else if (type == Commit)
            {
                if (pass == Pass.Scan && !CommitGood(v, block, crc))
                {
                    Report(pass, here, "commit block checksum");
                    break;
                }

                crc = uint.MaxValue;
                sequence = unchecked(sequence + 1);
            }
            else if (type == Revoke)
            {
                if (pass == Pass.Revoke)
                {
                    Revocations(v, block, sequence, here);
                }
            }
            else
            {
                break;
            }
        }

        return sequence;
    }

    // "Descriptor Block": the tags, each with the data block that follows in the log. Returns the blocks passed.
    private long Tags(Pass pass, BeView v, uint sequence, uint at, Span<byte> data, bool legacy, ref uint crc, out uint blocks)
    {
        bool v3 = _super.Incompat.HasFlag(JournalIncompat.ChecksumV3);
        bool wide = _super.Incompat.HasFlag(JournalIncompat.Bit64);
        // The tag with checksum v2 is two bytes longer than its fields: jbd2's own arithmetic, kept on disk ever since.
        int tagBytes = v3 ? 16 : 8 + (wide ? 4 : 0) + (_super.Incompat.HasFlag(JournalIncompat.ChecksumV2) ? 2 : 0);
        int end = _blockBytes - (_super.HasChecksum ? TailBytes : 0);
        blocks = 0;
        for (int tag = HeaderBytes; tag + tagBytes <= end;)
        {
            uint flags = v3 ? v.U32(tag + 4) : v.U16(tag + 6);
            if (pass == Pass.Replay)
            {
                long block = v.U32(tag) | (wide ? (long)v.U32(tag + 8) << 32 : 0);
                Replay(block, sequence, Next(at, blocks), (flags & FlagEscape) != 0, v3 ? v.U32(tag + 12) : v.U16(tag + 4), v3, data);
            }
            else if (legacy)
            {
                _log.Read((long)Next(at, blocks) * _blockBytes, data);
                crc = Crc32Be.Update(crc, data);
            }

            blocks++;
            if ((flags & FlagLast) != 0)
            {
                break;
            }

            tag += tagBytes + ((flags & FlagSameUuid) != 0 ? 0 : 16);
        }

        return blocks;
    }

    private void Replay(long block, uint sequence, uint logBlock, bool escaped, uint checksum, bool v3, Span<byte> data)
    {
        if (_revoked.TryGetValue(block, out uint until) && unchecked((int)(sequence - until)) <= 0)
        {
            return;
        }

        long position = (long)logBlock * _blockBytes;
        if (block < 0 || block >= _volume.Super.BlocksCount)
        {
            _gaps.Add(new CoverageGap(Fault.Corrupt, "", "jbd2 tag", position, _blockBytes, $"a tag names block {block} outside the file system"));
            return;
        }

        Extent extent = _map.Map(position, _blockBytes);
        if (extent.Kind != ExtentKind.Data || extent.Length != _blockBytes)
        {
            throw new DiskFormatException(Fault.Corrupt, "journal", position, "the journal has a hole");
        }

        if (_super.HasChecksum)
        {
            Span<byte> number = stackalloc byte[4];
            BinaryPrimitives.WriteUInt32BigEndian(number, sequence);
            _log.Read(position, data);
            uint sum = Crc32C.Update(Crc32C.Update(_super.Seed, number), data);
            if (checksum != (v3 ? sum : sum & 0xFFFF))
            {
                _gaps.Add(new CoverageGap(Fault.Corrupt, "", "jbd2 data block", position, _blockBytes, $"bad checksum of block {block} in transaction {sequence}"));
                return;
            }
        }

        if (_replayed.Count >= _mostEntries && !_replayed.ContainsKey(block))
        {
            throw new DiskFormatException(Fault.Limit, "journal", position, $"more than {_mostEntries} blocks to replay");
        }

        _replayed[block] = new JournalBlock(extent.Location, escaped);
    }

    private void Revocations(BeView v, ReadOnlySpan<byte> block, uint sequence, uint here)
    {
        if (_super.HasChecksum && !BlockChecksumGood(block))
        {
            Report(Pass.Revoke, here, "revocation block checksum");
            return;
        }

        uint used = v.U32(0xC);
        v.Require(used <= _blockBytes - (_super.HasChecksum ? TailBytes : 0), 0xC, "r_count");
        int width = _super.Incompat.HasFlag(JournalIncompat.Bit64) ? 8 : 4;
        for (int at = RevokeHeaderBytes; at + width <= used; at += width)
        {
            ulong number = width == 8 ? v.U64(at) : v.U32(at);
            if (number > long.MaxValue)
            {
                continue;
            }

            if (!_revoked.TryGetValue((long)number, out uint until) || unchecked((int)(sequence - until)) > 0)
            {
                if (_revoked.Count >= _mostEntries)
                {
                    throw new DiskFormatException(Fault.Limit, "journal", v.Offset, $"more than {_mostEntries} revocations");
                }

                _revoked[(long)number] = sequence;
            }
        }
    }

    // jbd2_journal_block_tail and jbd2_journal_revoke_tail: the checksum of the UUID and the block with this field as zero.
    private bool BlockChecksumGood(ReadOnlySpan<byte> block)
    {
        ReadOnlySpan<byte> zero = [0, 0, 0, 0];
        uint state = Crc32C.Update(_super.Seed, block[..^TailBytes]);
        return Crc32C.Update(state, zero) == BinaryPrimitives.ReadUInt32BigEndian(block[^TailBytes..]);
    }

    private bool CommitGood(BeView v, ReadOnlySpan<byte> block, uint crc)
    {
        if (_super.HasChecksum)
        {
            ReadOnlySpan<byte> zero = [0, 0, 0, 0];
            uint state = Crc32C.Update(_super.Seed, block[..CommitChecksum]);
            state = Crc32C.Update(state, zero);
            return Crc32C.Update(state, block[(CommitChecksum + 4)..]) == v.U32(CommitChecksum);
        }

        // h_chksum_type and h_chksum_size; both zero when the transaction was written without one.
        return !_super.Compat.HasFlag(JournalCompat.Checksum) || v.U8(0xC) != ChecksumTypeCrc32 || v.U8(0xD) != 4 || v.U32(CommitChecksum) == crc;
    }

    // A transaction whose blocks are torn was not finished, so it ends the log; a sound guest leaves none with a wrong checksum, unless it
    // commits asynchronously.
    private void Report(Pass pass, uint block, string what)
    {
        if (pass != Pass.Replay && !_super.Incompat.HasFlag(JournalIncompat.AsyncCommit) && _reported.Add(block))
        {
            _gaps.Add(new CoverageGap(Fault.Corrupt, "", "journal", (long)block * _blockBytes, 0, $"bad {what}; what follows it in the journal is not replayed"));
        }
    }

    private uint Next(uint at, uint count)
    {
        uint length = _super.Last - _super.First;
        return _super.First + (uint)(((ulong)(at - _super.First) + count) % length);
    }
}
