using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Connectors.Datastore;

/// <summary>Which files the images inside a tar archive may name: its other members. Nothing outside the archive is ever looked at.</summary>
internal sealed class TarPolicy : IReferencePolicy
{
    private readonly string _archive;
    private readonly Dictionary<string, TarMember> _members = new(StringComparer.Ordinal);

    /// <param name="archive">Host path of the archive.</param>
    /// <param name="members">Of members with one name, the first is found.</param>
    public TarPolicy(string archive, IEnumerable<TarMember> members)
    {
        _archive = archive;
        foreach (TarMember member in members)
        {
            if (Plain(member.Name) is { } name)
            {
                _members.TryAdd(name, member);
            }
        }
    }

    /// <summary>Names that were refused, for the report of hostile images.</summary>
    public List<string> Refused { get; } = [];

    /// <summary>A member's name as reports show it: <c>x.ova/disk1.vmdk</c>.</summary>
    public string NameOf(string plain) => _archive + "/" + plain;

    /// <summary>A member's own name without <c>./</c> and doubled slashes; null where it leads outside the archive.</summary>
    public static string? Plain(string name)
    {
        string slashed = name.Replace('\\', '/');
        string[] parts = [.. slashed.Split('/').Where(p => p is not ("" or "."))];
        return slashed.StartsWith('/') || parts.Length == 0 || parts.Contains("..") || name.Contains('\0', StringComparison.Ordinal) ? null : string.Join('/', parts);
    }

    public ReferenceAnswer Resolve(string fromPath, ImageReference reference)
    {
        // The name that an image was planned under begins with the archive's own.
        string own = fromPath.StartsWith(_archive + "/", StringComparison.Ordinal) ? fromPath[(_archive.Length + 1)..] : "";
        string folder = own.LastIndexOf('/') is var slash and >= 0 ? own[..(slash + 1)] : "";
        bool refused = false;
        foreach (string candidate in reference.Candidates)
        {
            if (Find(folder, candidate, reference.Kind) is not { } member)
            {
                refused |= candidate.Length == 0 || Plain(candidate) is null;
                continue;
            }

            return member.Kind switch
            {
                TarMemberKind.Regular => new ReferenceAnswer(_archive, File: FileOf(NameOf(Plain(member.Name)!), member)),
                TarMemberKind.Sparse => new ReferenceAnswer(null, Fault.Unsupported, $"\"{reference.Display}\" is stored as a sparse file in the archive"),
                _ => Refuse(reference),
            };
        }

        return refused
            ? Refuse(reference)
            : new ReferenceAnswer(null, Fault.MissingParent, $"\"{reference.Display}\" is not in {_archive}");
    }

    public PlannedFile FileOf(string name, TarMember member) => new(0, name, _archive, member.OffsetBytes, member.StoredBytes);

    private TarMember? Find(string folder, string candidate, ReferenceKind kind)
    {
        if (Plain(candidate) is { } plain && _members.TryGetValue(folder + plain, out TarMember? member))
        {
            return member;
        }

        // A parent may have been written down with its path on the hypervisor; its identity is checked when it is opened.
        string last = candidate[(candidate.LastIndexOfAny(['/', '\\']) + 1)..];
        return kind == ReferenceKind.Parent && last is not ("" or "." or "..") ? _members.GetValueOrDefault(folder + last) : null;
    }

    private ReferenceAnswer Refuse(ImageReference reference)
    {
        Refused.Add(reference.Display);
        return new ReferenceAnswer(null, Fault.Refused, $"\"{reference.Display}\" names a file outside the archive or no regular file; it is not opened");
    }
}
