using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;

namespace Vmsweep.DiskReaders.Volumes.Md;

/// <summary>Makes one array of its members.</summary>
internal sealed class MdArray
{
    private const string Structure = "MD array";

    private readonly IReadOnlyList<MdMember> _members;
    private readonly ReadContext _context;
    private readonly List<MemberArea> _leftovers;
    private readonly List<string> _notes = [];
    private readonly MdSuperblock _newest;
    private readonly MdMember?[] _byRole;

    public MdArray(IReadOnlyList<MdMember> members, ReadContext context, List<MemberArea> leftovers)
    {
        _members = members;
        _context = context;
        _leftovers = leftovers;
        _newest = members.MaxBy(m => m.Superblock.Events)!.Superblock;
        _byRole = new MdMember?[_newest.RaidDisks];
    }

    /// <summary>The array, or why it cannot be read.</summary>
    public AssembledVolume Open()
    {
        IBlockSource? content = null;
        DiskFormatException? fault = null;
        try
        {
            RaidGeometry geometry = Geometry();
            AssignRoles();
            content = OpenRaid(geometry);
            ReportState(geometry);
        }
        catch (DiskFormatException e)
        {
            content?.Dispose();
            content = null;
            fault = e;
        }

        AddLeftovers(content is not null);
        return new AssembledVolume
        {
            Name = _newest.Name.Length > 0 ? _newest.Name : _newest.ArrayId,
            Layout = Describe(),
            Place = _members.Min(m => m.Index),
            Content = content,
            Fault = fault,
            Notes = _notes,
            SectorBytes = _members.Max(m => m.Given.SectorBytes),
        };
    }

    private RaidGeometry Geometry()
    {
        if (_newest.Refusal is { } refusal)
        {
            throw refusal;
        }

        if (_newest.Level is not (-1 or 0 or 1 or 4 or 5 or 6 or 10))
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, _newest.Offset, LevelName(_newest.Level));
        }

        if (_newest.IsReshaping)
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, _newest.Offset, "the array is being reshaped, and lies partly in its old form");
        }

        return new RaidGeometry((RaidLevel)_newest.Level, _newest.Layout, _newest.ChunkBytes, _byRole.Length, _newest.DeviceBytes);
    }

    private void AssignRoles()
    {
        // Members in sync go before those that are only to replace them; then the order given decides between twins.
        foreach (MdMember member in _members.OrderBy(m => m.Superblock.IsReplacement || m.Superblock.RecoveredBytes is not null))
        {
            MdSuperblock superblock = member.Superblock;
            int role = _newest.RoleOf(superblock);
            if (role is MdSuperblock.Spare or MdSuperblock.Journal)
            {
                if (IsStale(superblock))
                {
                    _notes.Add($"{member.Given.Name} was removed, says the rest of the array, and is left out");
                }
            }
            else if (role == MdSuperblock.Faulty)
            {
                _notes.Add($"{member.Given.Name} failed, says the rest of the array, and is left out");
            }
            else if (superblock.Events < _newest.Events && superblock.Events + 1 < _newest.Events)
            {
                _notes.Add(Text($"{member.Given.Name} fell behind ({superblock.Events} of {_newest.Events} events) and is left out"));
            }
            else if (!superblock.Agrees(_newest) || superblock.Refusal is not null)
            {
                _notes.Add($"{member.Given.Name} contradicts the rest of the array and is left out");
            }
            else if (role >= _byRole.Length)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, superblock.Offset, Text($"role {role} of {_byRole.Length}"));
            }
            else if (_byRole[role] is { } first)
            {
                _notes.Add(superblock.IsReplacement
                    ? $"{member.Given.Name} is to replace {first.Given.Name}"
                    : $"{member.Given.Name} claims the place of {first.Given.Name} and is left out");
            }
            else
            {
                _byRole[role] = member;
            }
        }
    }

    private IBlockSource OpenRaid(RaidGeometry geometry)
    {
        bool usesAll = geometry.Level is RaidLevel.Linear or RaidLevel.Raid0;
        IBlockSource?[] devices = new IBlockSource?[_byRole.Length];
        var distrusted = new IReadOnlyList<DistrustedRange>?[_byRole.Length];
        for (int i = 0; i < _byRole.Length; i++)
        {
            if (_byRole[i] is not { } member)
            {
                continue;
            }

            MdSuperblock superblock = member.Superblock;
            long used = usesAll ? superblock.DataBytes : _newest.DeviceBytes;
            devices[i] = new SliceSource(member.Given.Content, superblock.DataOffset, used, Structure);
            List<DistrustedRange> ranges = [.. superblock.BadBlocks.Where(b => b.Offset < used).Select(b => b with { Length = Math.Min(b.Length, used - b.Offset) })];
            if (ranges.Count > 0)
            {
                _notes.Add(Text($"{member.Given.Name} lists {ranges.Sum(r => r.Length)} bytes as bad; other members stand in where they can"));
            }

            if (superblock.RecoveredBytes is { } recovered && recovered < used)
            {
                ranges.Add(new DistrustedRange(recovered, used - recovered));
                _notes.Add(Text($"{member.Given.Name} is recovered up to byte {recovered} of {used}"));
            }

            distrusted[i] = ranges;
        }

        return RaidSource.Open(geometry, devices, _context, distrusted);
    }

    private void ReportState(RaidGeometry geometry)
    {
        var missing = Enumerable.Range(0, _byRole.Length).Where(i => _byRole[i] is null).ToList();
        bool isDegraded = missing.Count > 0 || _byRole.Any(m => m?.Superblock.RecoveredBytes < geometry.DeviceBytes);
        if (missing.Count > 0)
        {
            string standIn = geometry.Level is RaidLevel.Raid4 or RaidLevel.Raid5 or RaidLevel.Raid6 ? "parity stands in" : "copies stand in";
            _notes.Add($"degraded: without {string.Join(", ", missing)} of {Text($"{_byRole.Length}")} members; {standIn}");
        }

        // Linux does not start such an array unless forced: what parity gives for rows that were being written may be wrong.
        if (isDegraded && _newest.IsDirty && geometry.Level is RaidLevel.Raid4 or RaidLevel.Raid5 or RaidLevel.Raid6)
        {
            Gap(Fault.Corrupt, "degraded, and not stopped or synchronised before: rows that were being written may be rebuilt wrongly");
        }

        if (_newest.HasJournal)
        {
            Gap(Fault.Unsupported, "the array has a write journal, which is not replayed: what was last written may be missing");
        }

        if (_newest.HasPartialParityLog)
        {
            _notes.Add("the array has a partial parity log, which is not replayed; it concerns parity only");
        }
    }

    private void Gap(Fault fault, string detail) =>
        _context.Gaps.Add(new CoverageGap(fault, _members[0].Given.Name, Structure, _newest.Offset, 0, detail));

    // What no volume shows: superblocks, bitmaps, reserved space, what chunks cut off; members without a place in whole.
    private void AddLeftovers(bool isOpen)
    {
        foreach (MdMember member in _members)
        {
            MdSuperblock superblock = member.Superblock;
            long end = member.Given.Content.Length;
            if (!isOpen || !_byRole.Contains(member))
            {
                _leftovers.Add(new MemberArea(member.Index, WholeName(member, isOpen), 0, end));
                continue;
            }

            bool usesAll = _newest.Level is -1 or 0;
            long used = usesAll ? superblock.DataBytes : _newest.DeviceBytes;
            used -= _newest.ChunkBytes > 0 && _newest.Level != 1 ? used % _newest.ChunkBytes : 0;
            (long Start, long End)[] taken = [(superblock.DataOffset, superblock.DataOffset + used), (superblock.Offset, superblock.Offset + superblock.AreaBytes)];
            Array.Sort(taken);
            long at = 0;
            foreach ((long start, long stop) in taken)
            {
                _leftovers.Add(new MemberArea(member.Index, "md-reserved", at, start - at));
                at = Math.Max(at, stop);
            }

            _leftovers.Add(new MemberArea(member.Index, "md-reserved", at, end - at));
            _leftovers.Add(new MemberArea(member.Index, "md-superblock", superblock.Offset, superblock.AreaBytes));
        }
    }

    // It takes itself for a part of the array; the rest has gone on without it.
    private static bool IsStale(MdSuperblock superblock) => superblock.RoleOf(superblock) < MdSuperblock.Journal;

    private string WholeName(MdMember member, bool isOpen) =>
        !isOpen ? "md-member"
        : _newest.RoleOf(member.Superblock) switch
        {
            MdSuperblock.Spare when !IsStale(member.Superblock) => "md-spare",
            MdSuperblock.Journal => "md-journal",
            _ => "md-stale",
        };

    private string Describe()
    {
        string chunks = _newest.ChunkBytes > 0 && _newest.Level is not 1 ? Text($", chunks of {_newest.ChunkBytes >> 10} KiB") : "";
        string degraded = _byRole.Contains(null) ? ", degraded" : "";
        return Text($"{LevelName(_newest.Level)} of {_byRole.Length}{chunks}, metadata {_newest.Version}{degraded}");
    }

    private static string LevelName(int level) => level switch
    {
        -1 => "linear",
        -4 => "multipath",
        -5 => "faulty",
        -100 => "container",
        _ => Text($"raid{level}"),
    };

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
