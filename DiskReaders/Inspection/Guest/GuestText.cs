using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;

namespace Vmsweep.DiskReaders.Inspection.Guest;

/// <summary>Reads a guest's small text files. What cannot be read, or is larger than such a file is, becomes a gap under the file's path.</summary>
/// <param name="context">Memory and gaps.</param>
internal sealed class GuestText(ReadContext context)
{
    /// <summary>Configuration files have a few kibibytes.</summary>
    public const int MostConfiguration = 256 << 10;

    /// <summary>A package database: dpkg's of 10,000 packages has 15 MB.</summary>
    private const long MostDatabase = 256L << 20;

    /// <summary>Lines beyond it carry no field that is asked for.</summary>
    private const int MostLine = 8 << 10;

    /// <summary>PATH_MAX.</summary>
    private const int LongestTarget = 4096;

    private const int StepBytes = 256 << 10;

    public ReadContext Context => context;

    /// <summary>The file's whole text; null when it cannot be read.</summary>
    public string? Whole(InspectedVolume volume, GuestFile file, string path) => Whole(volume, file, path, MostConfiguration);

    private string? Whole(InspectedVolume volume, GuestFile file, string path, int mostBytes)
    {
        string? text = null;
        With(volume, file, path, mostBytes, content =>
        {
            using RentedBuffer buffer = context.Budget.Rent((int)content.Length);
            content.Read(0, buffer.Span);
            text = Encoding.UTF8.GetString(buffer.Span);
        });
        return text;
    }

    /// <summary>What a symbolic link says; null when it cannot be read.</summary>
    public string? LinkTarget(FoundFile link) => Whole(link.Files.Volume, link.File, link.Path, LongestTarget);

    /// <summary>Hands on each line of a file; one that is too long is left out.</summary>
    public void Lines(InspectedVolume volume, GuestFile file, string path, Action<ReadOnlySpan<byte>> line, long mostBytes = MostDatabase) =>
        With(volume, file, path, mostBytes, content =>
        {
            using RentedBuffer buffer = context.Budget.Rent(StepBytes + MostLine);
            int kept = 0;
            bool isTooLong = false;
            for (long at = 0; at < content.Length;)
            {
                context.ThrowIfCancelled();
                int count = (int)Math.Min(StepBytes, content.Length - at);
                content.Read(at, buffer.Span.Slice(kept, count));
                at += count;
                ReadOnlySpan<byte> rest = buffer.Span[..(kept + count)];
                for (int end; (end = rest.IndexOf((byte)'\n')) >= 0; rest = rest[(end + 1)..])
                {
                    if (!isTooLong)
                    {
                        line(rest[..end]);
                    }

                    isTooLong = false;
                }

                isTooLong |= rest.Length > MostLine;
                kept = isTooLong ? 0 : rest.Length;
                rest[..kept].CopyTo(buffer.Span);
            }

            if (kept > 0)
            {
                line(buffer.Span[..kept]);
            }
        });

    /// <summary>Opens a file for <paramref name="read"/>; whatever goes wrong is a gap under its path.</summary>
    public void With(InspectedVolume volume, GuestFile file, string path, long mostBytes, Action<IBlockSource> read)
    {
        try
        {
            using IBlockSource content = volume.FileSystem!.OpenContent(file);
            if (content.Length > mostBytes)
            {
                throw new DiskFormatException(Fault.Limit, "guest file", -1, $"{content.Length} bytes, such a file has at most {mostBytes}");
            }

            read(content);
        }
        catch (DiskFormatException e)
        {
            context.Gaps.Add(new CoverageGap(e, PathOf(volume, path), file.SizeBytes));
        }
        catch (IOException e)
        {
            context.Gaps.Add(new CoverageGap(Fault.Transport, PathOf(volume, path), "storage", -1, file.SizeBytes, e.Message));
        }
    }

    /// <summary>A text for the facts: without surrounding space, and empty, with a gap, when it is too long.</summary>
    public string Fact(InspectedVolume volume, string path, string? text)
    {
        text = text?.Trim() ?? "";
        if (text.Length <= GuestFacts.MostText)
        {
            return text;
        }

        context.Gaps.Add(new CoverageGap(Fault.Limit, PathOf(volume, path), "guest facts", -1, 0, $"a text of {text.Length} characters, more than {GuestFacts.MostText}"));
        return "";
    }

    public static string PathOf(InspectedVolume volume, string path) => volume.Id + "/" + GuestName.Escape(Encoding.UTF8.GetBytes(path), controls: false);
}
