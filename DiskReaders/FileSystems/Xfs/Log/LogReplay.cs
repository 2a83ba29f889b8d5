using System.Buffers.Binary;
using System.Globalization;
using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

/// <summary>
/// Takes the operations of the log's records in order, gathers transactions, and of each that is committed lays the items over the volume.
/// Specification: "XFS Algorithms &amp; Data Structures", "Log Operations", "Log Items".
/// </summary>
internal sealed class LogReplay(XfsSuperblock super, ReadContext context, XfsVolume plain, LogPatches patches)
{
    private const int OperationBytes = 12;
    private const byte Start = 0x01, Commit = 0x02, Continue = 0x04, WasContinued = 0x08, Ended = 0x10, Unmount = 0x20;
    private const byte ClientTransaction = 0x69, ClientLog = 0xAA;
    private const int MostOpen = 4096;

    private const ushort FreeIntent = 0x1236;      // XFS_LI_EFI; what says that it is done follows each intent by one
    private const ushort InodeItem = 0x123B;
    private const ushort BufferItem = 0x123C;
    private const ushort CreateItem = 0x123F;
    private const ushort FirstIntent = 0x1240;     // XFS_LI_RUI
    private const ushort MapIntent = 0x1244;       // XFS_LI_BUI
    private const ushort ExchangeIntent = 0x1248;  // XFS_LI_XMI
    private const ushort LastIntent = 0x124F;

    private readonly Dictionary<uint, LogTransaction> _open = [];
    private readonly Dictionary<(ushort Type, ulong Id), ulong> _intents = [];
    private readonly BufferReplay _buffers = new(super, patches);
    private readonly InodeReplay _inodes = new(super, plain, patches);
    private bool _first;

    public int Transactions { get; private set; }

    public void Begin(bool first) => _first = first;

    /// <summary>What was not committed is forgotten.</summary>
    public void End()
    {
        foreach (LogTransaction transaction in _open.Values)
        {
            transaction.Dispose();
        }

        _open.Clear();
    }

    /// <summary>Takes the operations of a record.</summary>
    /// <exception cref="DiskFormatException">They make no sense.</exception>
    public void Record(LogRecord record, ReadOnlySpan<byte> data, long offset)
    {
        int at = 0;
        for (uint i = 0; i < record.Operations; i++)
        {
            var v = new BeView(data[at..], "xlog_op_header", offset);
            uint tid = v.U32(0);
            uint length = v.U32(4);
            byte client = v.U8(8);
            byte flags = v.U8(9);
            v.Require(client is ClientTransaction or ClientLog, 8, "oh_clientid");
            v.Require(length <= v.Length - OperationBytes, 4, "oh_len");
            Operation(record, tid, flags, v.Field(OperationBytes, (int)length), offset);
            at += OperationBytes + (int)length;
        }
    }

    /// <summary>Intents that no transaction says are done: those that move a file's blocks are gaps, the rest concern free space alone.</summary>
    public void ReportUnfinished(List<string> notes)
    {
        int others = 0;
        foreach (((ushort type, _), ulong inode) in _intents)
        {
            if (type is MapIntent or ExchangeIntent)
            {
                context.Gaps.Add(new CoverageGap(Fault.Unsupported, $"inode {inode}", type == MapIntent ? "xfs_bui_log_format" : "xfs_xmi_log_format", -1, 0, "the log holds a change of the file's blocks that was not finished and is not carried out"));
            }
            else
            {
                others++;
            }
        }

        if (others > 0)
        {
            notes.Add(string.Create(CultureInfo.InvariantCulture, $"log: {others} unfinished changes of free space, not carried out"));
        }
    }

    private void Operation(LogRecord record, uint tid, byte flags, ReadOnlySpan<byte> region, long offset)
    {
        if (!_open.TryGetValue(tid, out LogTransaction? transaction))
        {
            if ((flags & Start) != 0)
            {
                if (_open.Count >= MostOpen)
                {
                    throw new DiskFormatException(Fault.Limit, "xlog_op_header", offset, $"more than {MostOpen} open transactions");
                }

                _open.Add(tid, new LogTransaction(context.Budget, record.Lsn));
            }

            // Anything else is the rest of a transaction that began before the tail.
            return;
        }

        int kind = flags & ~Ended;
        kind = (kind & WasContinued) != 0 ? kind & ~Continue : kind;
        switch (kind)
        {
            case 0 or Continue:
                transaction.Add(region);
                break;
            case WasContinued:
                transaction.Continue(region);
                break;
            case Commit:
                _open.Remove(tid);
                using (transaction)
                {
                    Committed(transaction);
                }

                break;
            case Unmount or Start:
                break;
            default:
                throw new DiskFormatException(Fault.Corrupt, "xlog_op_header", offset, $"bad oh_flags 0x{flags:X2}");
        }
    }

    private void Committed(LogTransaction transaction)
    {
        List<(int First, int Count)> items = transaction.Items();
        if (_first)
        {
            Transactions++;
            foreach ((int first, int count) in items)
            {
                if (TypeOf(transaction, first) == BufferItem)
                {
                    _buffers.NoteCancel(transaction.Region(first));
                }
                else
                {
                    NoteIntent(transaction.Region(first));
                }
            }

            return;
        }

        // Buffers first, then inodes, then buffers that are cancelled from here on.
        foreach ((int first, int count) in items)
        {
            switch (TypeOf(transaction, first))
            {
                case BufferItem when !BufferReplay.IsCancel(transaction.Region(first)):
                    _buffers.Replay(transaction, first, count);
                    break;
                case CreateItem:
                    _inodes.Create(transaction.Region(first), _buffers);
                    break;
                default:
                    break;
            }
        }

        foreach ((int first, int count) in items)
        {
            if (TypeOf(transaction, first) == InodeItem)
            {
                _inodes.Replay(transaction, first, count, _buffers);
            }
        }

        foreach ((int first, _) in items)
        {
            if (TypeOf(transaction, first) == BufferItem && BufferReplay.IsCancel(transaction.Region(first)))
            {
                _buffers.DoneCancel(transaction.Region(first));
            }
        }
    }

    private static ushort TypeOf(LogTransaction transaction, int region) => BinaryPrimitives.ReadUInt16LittleEndian(transaction.Region(region));

    private void NoteIntent(ReadOnlySpan<byte> format)
    {
        const int IdAt = 8, OwnerAt = 16;
        ushort type = BinaryPrimitives.ReadUInt16LittleEndian(format);
        if (type is not (FreeIntent or FreeIntent + 1) && type is < FirstIntent or > LastIntent)
        {
            return;
        }

        if (format.Length < OwnerAt)
        {
            throw new DiskFormatException(Fault.Corrupt, "log item", -1, $"an intent of {format.Length} bytes");
        }

        ulong id = BinaryPrimitives.ReadUInt64LittleEndian(format[IdAt..]);
        if (type % 2 == 0)
        {
            _intents[(type, id)] = format.Length >= OwnerAt + 8 ? BinaryPrimitives.ReadUInt64LittleEndian(format[OwnerAt..]) : 0;
        }
        else
        {
            _intents.Remove(((ushort)(type - 1), id));
        }
    }
}
