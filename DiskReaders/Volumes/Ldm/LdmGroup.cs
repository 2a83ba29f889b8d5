using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes.Raid;

namespace Vmsweep.DiskReaders.Volumes.Ldm;

/// <summary>Makes the volumes of one disk group.</summary>
internal sealed class LdmGroup(IReadOnlyList<LdmMember> members, ReadContext context, List<AssembledVolume> volumes, List<MemberArea> leftovers)
{
    private const string Structure = "LDM volume";

    /// <summary>A database of the allowed size could describe more, and each volume may lie on each disk.</summary>
    private const int MostVolumes = 2000;

    private readonly List<(LdmMember Member, long Start, long End)> _taken = [];
    private readonly Dictionary<ulong, LdmMember> _byDisk = [];
    private LdmDatabase _database = null!;
    private ILookup<ulong, LdmComponent> _components = null!;
    private ILookup<ulong, LdmPartition> _partitions = null!;

    public void Open()
    {
        DiskFormatException? fault = null;
        foreach (LdmMember member in members)
        {
            try
            {
                member.Database = LdmDatabase.Read(member.Given, member.Header, context);
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
                context.Gaps.Add(new CoverageGap(e, member.Given.Name, 0));
            }
        }

        if (members.Select(m => m.Database).OfType<LdmDatabase>().MaxBy(d => d.CommittedSequence) is not { } newest)
        {
            volumes.Add(new AssembledVolume { Name = "", Layout = "disk group", Place = members[0].Index, Fault = fault, SectorBytes = members[0].Header.SectorBytes });
            leftovers.AddRange(members.Select(m => new MemberArea(m.Index, "ldm-disk", 0, m.Given.Content.Length)));
            return;
        }

        _database = newest;
        _components = newest.Components.ToLookup(c => c.Volume);
        _partitions = newest.Partitions.ToLookup(p => p.Component);
        MatchDisks();
        foreach (LdmMember member in members.Where(m => m.Database?.CommittedSequence < newest.CommittedSequence))
        {
            Gap(Text($"the database of {member.Given.Name} is older ({member.Database!.CommittedSequence} of {newest.CommittedSequence}): what it holds may be out of date"));
        }

        if (newest.IsUpdating)
        {
            Gap("the database was left in the middle of an update; its committed part is followed");
        }

        if (newest.Volumes.Count > MostVolumes)
        {
            throw new DiskFormatException(Fault.Limit, Structure, -1, Text($"{newest.Volumes.Count} volumes in one group"));
        }

        int before = volumes.Count;
        foreach (LdmVolume volume in newest.Volumes)
        {
            context.ThrowIfCancelled();
            volumes.Add(OpenVolume(volume));
        }

        AddBasicPartitions();
        if (volumes.Count == before)
        {
            volumes.Add(new AssembledVolume
            {
                Name = newest.GroupName, Layout = "disk group without volumes", Place = members[0].Index, Content = new MemorySource(ReadOnlyMemory<byte>.Empty),
                SectorBytes = members[0].Header.SectorBytes,
            });
        }

        AddLeftovers();
    }

    private void MatchDisks()
    {
        foreach (LdmDisk disk in _database.Disks)
        {
            if (members.FirstOrDefault(m => m.Header.DiskId == disk.Guid) is { } member)
            {
                _byDisk.TryAdd(disk.Id, member);
            }
        }
    }

    private AssembledVolume OpenVolume(LdmVolume volume)
    {
        List<string> notes = [];
        if (volume.DriveHint.Length > 0)
        {
            notes.Add("drive hint " + volume.DriveHint);
        }

        LdmComponent[] components = [.. _components[volume.Id]];
        var disks = components.SelectMany(c => _partitions[c.Id]).Select(p => _byDisk.GetValueOrDefault(p.Disk)).OfType<LdmMember>().Distinct().ToList();
        IBlockSource? content = null;
        List<IDisposable> owned = [];
        DiskFormatException? fault = null;
        int taken = _taken.Count;
        try
        {
            content = Assemble(volume, components, notes, owned);
        }
        catch (DiskFormatException e)
        {
            fault = e;
            owned.ForEach(o => o.Dispose());
            owned.Clear();
            _taken.RemoveRange(taken, _taken.Count - taken);
        }

        return new AssembledVolume
        {
            Name = $"{_database.GroupName}/{volume.Name}",
            Layout = Describe(components, notes.Any(n => n.StartsWith("degraded", StringComparison.Ordinal))),
            Place = (disks.Count > 0 ? disks : members).Min(m => m.Index),
            Content = content,
            Fault = fault,
            Notes = notes,
            Owned = owned,
            SectorBytes = members.Max(m => m.Header.SectorBytes),
        };
    }

    private SliceSource Assemble(LdmVolume volume, LdmComponent[] components, List<string> notes, List<IDisposable> owned)
    {
        if (components.Length == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, -1, "the volume has no component");
        }

        long bytes = volume.Sectors * members[0].Header.SectorBytes;
        if (components.Length == 1)
        {
            IBlockSource only = OpenComponent(components[0], notes);
            owned.Add(only);
            return new SliceSource(only, 0, bytes, Structure);
        }

        // A mirror: each component is a copy. One that is not up to date says so.
        IBlockSource?[] copies = new IBlockSource?[components.Length];
        DiskFormatException? fault = null;
        foreach (int i in Enumerable.Range(0, components.Length).OrderBy(i => components[i].State != "ACTIVE"))
        {
            bool isStale = components[i].State != "ACTIVE";
            if (isStale && copies.Any(c => c is not null))
            {
                notes.Add(Text($"degraded: copy {i} is {components[i].State} and is left out"));
                continue;
            }

            try
            {
                IBlockSource copy = OpenComponent(components[i], notes);
                owned.Add(copy);
                copies[i] = new SliceSource(copy, 0, bytes, Structure);
                if (isStale)
                {
                    Gap($"{volume.Name}: no copy that is up to date is there; one that is {components[i].State} is read");
                }
            }
            catch (DiskFormatException e)
            {
                fault ??= e;
                notes.Add(Text($"degraded: without copy {i} of {components.Length}"));
            }
        }

        if (copies.All(c => c is null))
        {
            throw fault!;
        }

        IBlockSource mirror = RaidSource.Open(new RaidGeometry(RaidLevel.Raid1, 0, 0, copies.Length, bytes), copies, context);
        owned.Add(mirror);
        return new SliceSource(mirror, 0, bytes, Structure);
    }

    private IBlockSource OpenComponent(LdmComponent component, List<string> notes)
    {
        LdmPartition[] parts = [.. _partitions[component.Id]];
        if (parts.Length == 0)
        {
            throw new DiskFormatException(Fault.Corrupt, Structure, -1, "the component has no partition");
        }

        bool isLinear = component.Kind == 2;
        if (!isLinear && (component.Kind is not (1 or 3) || component.Columns != parts.Length))
        {
            throw new DiskFormatException(Fault.Unsupported, Structure, -1, Text($"component of type {component.Kind}, {component.Columns} columns, {parts.Length} partitions"));
        }

        parts = isLinear ? [.. parts.OrderBy(p => p.VolumeOffset)] : [.. parts.OrderBy(p => p.Column)];
        long next = 0;
        for (int i = 0; i < parts.Length; i++)
        {
            if (isLinear ? parts[i].VolumeOffset != next : parts[i].Column != i || parts[i].Sectors != parts[0].Sectors)
            {
                throw new DiskFormatException(Fault.Corrupt, Structure, -1, Text($"partition {i} does not join the one before"));
            }

            next += parts[i].Sectors;
        }

        IBlockSource?[] devices = [.. parts.Select(Extent)];
        int sector = members[0].Header.SectorBytes;
        var missing = Enumerable.Range(0, parts.Length).Where(i => devices[i] is null).ToList();
        RaidGeometry geometry = component.Kind switch
        {
            1 => new RaidGeometry(RaidLevel.Raid0, 0, component.StripeSectors * sector, parts.Length, 0),
            3 => new RaidGeometry(RaidLevel.Raid5, ParityLayout.LeftSymmetric, component.StripeSectors * sector, parts.Length, parts[0].Sectors * sector),
            _ => new RaidGeometry(RaidLevel.Linear, 0, 0, parts.Length, 0),
        };
        IBlockSource source = RaidSource.Open(geometry, devices, context);
        if (missing.Count > 0)
        {
            notes.Add(Text($"degraded: without column {missing[0]} of {parts.Length}; parity stands in"));
        }

        return source;
    }

    // Null where the disk is not among those given.
    private SliceSource? Extent(LdmPartition part)
    {
        if (!_byDisk.TryGetValue(part.Disk, out LdmMember? member))
        {
            return null;
        }

        PrivateHeader header = member.Header;
        long start = header.DataStart + (part.Start * header.SectorBytes);
        long length = part.Sectors * header.SectorBytes;
        SliceSource slice = new(member.Given.Content, start, length, Structure);
        _taken.Add((member, start, start + length));
        return slice;
    }

    // What a table places outside of the dynamic part: the EFI system partition of a GPT disk, a vendor's tools.
    private void AddBasicPartitions()
    {
        foreach (LdmMember member in members)
        {
            DiskLayout layout;
            try
            {
                layout = PartitionTables.Read(member.Given.Content, member.Given.SectorBytes, context);
            }
            catch (DiskFormatException e)
            {
                context.Gaps.Add(new CoverageGap(e, member.Given.Name, 0));
                continue;
            }

            string metadata = LdmTable.Metadata.ToString("D").ToUpperInvariant();
            string data = LdmTable.Data.ToString("D").ToUpperInvariant();
            foreach (Partition partition in layout.Partitions)
            {
                string type = partition.TypeName.Split(' ')[0];
                long start = partition.OffsetBytes;
                long end = start + partition.SizeBytes;
                bool isDynamic = type is "0x42" or "0xEE" || type == metadata || type == data;
                if (isDynamic || _taken.Exists(t => t.Member == member && t.Start < end && start < t.End))
                {
                    continue;
                }

                _taken.Add((member, start, end));
                volumes.Add(new AssembledVolume
                {
                    Name = Text($"partition {partition.Number}"),
                    Layout = "basic partition " + partition.TypeName,
                    Place = member.Index,
                    Content = new SliceSource(member.Given.Content, start, partition.SizeBytes, "partition"),
                    SectorBytes = member.Given.SectorBytes,
                });
            }
        }
    }

    private void AddLeftovers()
    {
        foreach (LdmMember member in members)
        {
            PrivateHeader header = member.Header;
            long at = 0;
            var pieces = _taken.Where(t => t.Member == member).Select(t => (t.Start, t.End, IsDatabase: false))
                .Append((Start: header.ConfigStart, End: header.ConfigStart + header.ConfigBytes, IsDatabase: true));
            foreach ((long start, long end, bool isDatabase) in pieces.OrderBy(p => p.Start))
            {
                Add("ldm-free", at, start);
                if (isDatabase)
                {
                    Add("ldm-database", Math.Max(at, start), end);
                }

                at = Math.Max(at, end);
            }

            Add("ldm-free", at, member.Given.Content.Length);

            void Add(string name, long start, long end)
            {
                if (end > start)
                {
                    leftovers.Add(new MemberArea(member.Index, name, start, end - start));
                }
            }
        }
    }

    private string Describe(LdmComponent[] components, bool isDegraded)
    {
        string kind = components.Length == 0 ? "unknown" : components[0].Kind switch
        {
            1 => Text($"striped over {components[0].Columns}, chunks of {components[0].StripeSectors * members[0].Header.SectorBytes >> 10} KiB"),
            3 => Text($"raid5 of {components[0].Columns}, chunks of {components[0].StripeSectors * members[0].Header.SectorBytes >> 10} KiB"),
            2 when _partitions[components[0].Id].Count() > 1 => Text($"spanned over {_partitions[components[0].Id].Count()}"),
            2 => "simple",
            _ => Text($"component type {components[0].Kind}"),
        };
        string copies = components.Length > 1 ? Text($", mirrored {components.Length} times") : "";
        return kind + copies + (isDegraded ? ", degraded" : "");
    }

    private void Gap(string detail) => context.Gaps.Add(new CoverageGap(Fault.Corrupt, members[0].Given.Name, Structure, -1, 0, detail));

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
