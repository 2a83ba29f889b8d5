using System.Globalization;
using System.Text;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Ntfs;

/// <summary>One pass over the <c>$MFT</c>, in record order, a large piece at a time: each file in use becomes its contents.</summary>
internal sealed class NtfsWalk : IDisposable
{
    private const int ChunkBytes = 1 << 20;

    /// <summary>After so many failed reads of parts of the table, failing pieces are no longer divided to save what lies between.</summary>
    private const int MaxSplits = 4096;

    private readonly NtfsVolume _volume;
    private readonly MasterFileTable _table;
    private readonly RecordBitmap _bitmap;
    private readonly FileAssembler _assembler;
    private readonly FolderTable _folders;
    private readonly GuestFileMaker _maker;
    private readonly RentedBuffer _chunk;
    private readonly DeletedFiles? _deleted;
    private readonly List<GuestFile> _batch = [];
    private readonly List<long> _continuing = [];
    private int _splits;

    public NtfsWalk(NtfsFileSystem fileSystem, NtfsVolume volume, MasterFileTable table)
    {
        _volume = volume;
        _table = table;
        int perChunk = Math.Max(1, ChunkBytes / volume.RecordBytes);
        var rented = new List<IDisposable>();
        try
        {
            rented.Add(_bitmap = new RecordBitmap(volume, table));
            rented.Add(_assembler = new FileAssembler(volume, table));
            rented.Add(_folders = new FolderTable(volume, table));
            if (volume.Context.IncludeDeleted)
            {
                rented.Add(_deleted = new DeletedFiles(volume, table, _folders));
            }

            rented.Add(_chunk = volume.Context.Budget.Rent((int)Math.Min(perChunk, Math.Max(1, table.Records)) * volume.RecordBytes));
        }
        catch
        {
            rented.ForEach(r => r.Dispose());
            throw;
        }

        _maker = new GuestFileMaker(fileSystem, volume, table, _folders);
    }

    /// <summary>The name of a file that has none.</summary>
    public static byte[] Unnamed(long number) => Encoding.ASCII.GetBytes("$Record" + number.ToString(CultureInfo.InvariantCulture));

    public IEnumerable<GuestFile> Files()
    {
        int perChunk = _chunk.Length / _volume.RecordBytes;
        long first = 0;
        while (first < _table.Records)
        {
            _volume.Context.ThrowIfCancelled();
            long holes = SkipHoles(first);
            if (holes > 0)
            {
                first += holes;
                continue;
            }

            int count = (int)Math.Min(perChunk, _table.Records - first);
            ReadPiece(first, _chunk.Span[..(count * _volume.RecordBytes)]);
            foreach (GuestFile file in _batch)
            {
                yield return file;
            }

            _batch.Clear();
            first += count;
        }

        ReportUnclaimed();
    }

    public void Dispose()
    {
        _bitmap.Dispose();
        _assembler.Dispose();
        _folders.Dispose();
        _chunk.Dispose();
        _deleted?.Dispose();
    }

    /// <summary>A part of the table that no layer stores holds no record; where the bitmap says that it should, that is a gap.</summary>
    private long SkipHoles(long first)
    {
        long holes;
        try
        {
            holes = _table.HoleRecords(first);
        }
        catch (DiskFormatException)
        {
            // Reading the records says what is wrong.
            return 0;
        }

        long missing = holes == 0 ? 0 : _bitmap.CountUsed(first, holes);
        if (missing > 0)
        {
            _volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, "$MFT", "FILE record", _table.OffsetOfOrNone(first), missing * _volume.RecordBytes, $"{missing} records in use from record {first} on are empty"));
        }

        return holes;
    }

    /// <summary>Reads records and makes their files; when the bytes below cannot be read, the halves are tried.</summary>
    private void ReadPiece(long first, Span<byte> records)
    {
        int count = records.Length / _volume.RecordBytes;
        try
        {
            _table.ReadRaw(first, records);
        }
        catch (DiskFormatException e) when (count == 1 || _splits >= MaxSplits)
        {
            _volume.Context.Gaps.Add(new CoverageGap(e, "$MFT", records.Length));
            return;
        }
        catch (DiskFormatException)
        {
            _splits++;
            int half = count / 2;
            ReadPiece(first, records[..(half * _volume.RecordBytes)]);
            ReadPiece(first + half, records[(half * _volume.RecordBytes)..]);
            return;
        }

        for (int i = 0; i < count; i++)
        {
            Read(first + i, records.Slice(i * _volume.RecordBytes, _volume.RecordBytes));
        }
    }

    private void Read(long number, Span<byte> bytes)
    {
        try
        {
            switch (_table.Check(number, bytes))
            {
                case RecordState.InUse:
                    ReadInUse(number, bytes);
                    break;
                case RecordState.Damaged when _bitmap.IsUsed(number) ?? true:
                    throw new DiskFormatException(Fault.Corrupt, "FILE record", _table.OffsetOf(number), "torn (update sequence), marked bad or no FILE record");
                case RecordState.Free when _deleted is not null && bytes.StartsWith(FileRecord.Signature):
                    _deleted.Make(bytes, number, _maker, _batch);
                    break;
                case RecordState.Free when _bitmap.IsUsed(number) == true && bytes.IndexOfAnyExcept((byte)0) < 0:
                    throw new DiskFormatException(Fault.Corrupt, "FILE record", _table.OffsetOf(number), "in use and empty");
            }
        }
        catch (DiskFormatException e)
        {
            _volume.Context.Gaps.Add(new CoverageGap(e, $"record {number}", _volume.RecordBytes));
        }
    }

    private void ReadInUse(long number, Span<byte> bytes)
    {
        var record = new FileRecord(bytes, _table.OffsetOf(number));
        if (record.Base.Value != 0)
        {
            _continuing.Add(number);
            return;
        }

        _assembler.Assemble(bytes, number);
        _maker.Make(_assembler.File, _batch);
    }

    /// <summary>A record that continues a file but that no file leads to holds bytes the guest does not see either; they were not scanned.</summary>
    private void ReportUnclaimed()
    {
        foreach (long number in _continuing)
        {
            if (!_assembler.Claimed.Contains(number) && !_folders.Claimed.Contains(number))
            {
                _volume.Context.Gaps.Add(new CoverageGap(Fault.Corrupt, $"record {number}", "FILE record", _table.OffsetOf(number), _volume.RecordBytes, "continues a file that does not name it"));
            }
        }
    }
}
