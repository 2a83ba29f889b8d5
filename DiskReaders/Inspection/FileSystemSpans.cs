using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection;

/// <summary>Which volumes are devices of one file system. It is opened at the first of them, with all.</summary>
internal sealed class FileSystemSpans
{
    private readonly Dictionary<string, VolumeIdentity> _identities = new(StringComparer.Ordinal);
    private readonly Dictionary<string, List<(string Id, IBlockSource Content)>> _spans = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _spanOf = new(StringComparer.Ordinal);

    /// <summary>Looks at a volume; null content is of no span.</summary>
    public void Add(string id, IBlockSource? content)
    {
        if (content is null)
        {
            return;
        }

        try
        {
            VolumeIdentity identity = FileSystemFormats.Identify(content);
            _identities.Add(id, identity);
            if (identity.Readable is [var format, ..] && format.SpanIdentity(content) is { } name)
            {
                string span = $"{format.Name} {name}";
                _spanOf.Add(id, span);
                if (!_spans.TryGetValue(span, out List<(string Id, IBlockSource Content)>? devices))
                {
                    _spans.Add(span, devices = []);
                }

                devices.Add((id, content));
            }
        }
        catch (Exception e) when (e is DiskFormatException or IOException)
        {
            // Opening the volume meets the same, and reports it there.
        }
    }

    public VolumeIdentity? IdentityOf(string id) => _identities.GetValueOrDefault(id);

    /// <summary>The volume at which the file system is opened; null when it lies on one volume alone.</summary>
    public string? FirstOf(string id) => _spanOf.TryGetValue(id, out string? span) ? _spans[span][0].Id : null;

    /// <summary>All volumes of the file system, in disk order.</summary>
    public IReadOnlyList<IBlockSource>? DevicesOf(string id) =>
        _spanOf.TryGetValue(id, out string? span) ? [.. _spans[span].Select(d => d.Content)] : null;
}
