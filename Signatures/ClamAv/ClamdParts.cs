using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Vmsweep.Signatures.Bundles;

namespace Vmsweep.Signatures.ClamAv;

/// <summary>
/// A bundle's databases in the one folder that <c>clamd</c> reads, beside ClamAV's own. No command asks the daemon what it has loaded. So a
/// signature of one known content goes with them, is written after and removed before them, and when the daemon finds that content they are loaded.
/// </summary>
public static partial class ClamdParts
{
    private const string Prefix = "vmsweep-bundle-";
    private const int IdDigits = 32;

    /// <summary>The daemon loads by extension: it does not see a file of this one.</summary>
    private const string FreshSuffix = ".new";

    private const UnixFileMode ReadOnly = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private static readonly TimeSpan AnswerTime = TimeSpan.FromSeconds(60);

    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(200);

    /// <summary>A reload that was asked for while another one ran may be lost.</summary>
    private static readonly TimeSpan AskAgain = TimeSpan.FromSeconds(30);

    /// <summary>Whether the daemon has loaded the parts of a bundle.</summary>
    /// <param name="id">The bundle's identity, or as much of it as stands in <see cref="IdsIn"/>.</param>
    /// <exception cref="ClamdException">It cannot be asked.</exception>
    public static bool IsLoaded(string socket, string id, CancellationToken cancellation = default)
    {
        ExchangeResult result = ClamdExchange.Scan(socket, Probe(id), AnswerTime, cancellation);
        return result.End == ExchangeEnd.Answered
            ? result.Text.Contains(ProbeName(id), StringComparison.Ordinal)
            : throw new ClamdException($"clamd cannot be reached at {socket}: {result.Text}");
    }

    /// <summary>Ids, shortened, of bundles of whose parts something lies in the folder.</summary>
    public static IReadOnlyList<string> IdsIn(string folder) => [.. Ours(folder).Select(f => Path.GetFileName(f).Substring(Prefix.Length, IdDigits)).Distinct()];

    /// <summary>Puts a bundle's parts in the place of those of any other. Each is renamed to its name, so that the daemon never loads half of one.</summary>
    /// <param name="folder">The daemon's <c>DatabaseDirectory</c>.</param>
    /// <param name="files">Parts; none removes what is there.</param>
    public static void Put(string folder, string id, IReadOnlyList<string> files)
    {
        HashSet<string> kept = new(StringComparer.Ordinal);
        for (int i = 0; i < files.Count; i++)
        {
            using FileStream part = DurableFiles.OpenForeign(files[i]);
            Write(FormattableString.Invariant($"{NameOf(id)}-{i:D4}-{Path.GetFileName(files[i])}"), part);
        }

        if (files.Count > 0)
        {
            byte[] probe = Probe(id);
            Write(NameOf(id) + ".hsb", new MemoryStream(Encoding.ASCII.GetBytes($"{Convert.ToHexStringLower(SHA256.HashData(probe))}:{probe.Length}:{ProbeName(id)}\n")));
        }

        List<string> others = [.. Ours(folder).Where(f => !kept.Contains(f)).OrderByDescending(IsProbe)];
        others.ForEach(File.Delete);
        DurableFiles.FlushFolder(folder);

        void Write(string name, Stream content)
        {
            string path = Path.Combine(folder, name);
            string fresh = path + FreshSuffix;

            // The folder belongs to the daemon's account: what it may have put in the way is removed, never followed or opened.
            File.Delete(fresh);
            using (var file = new FileStream(fresh, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                content.CopyTo(file);
                OpenToReaders(file);
                file.Flush(flushToDisk: true);
            }

            File.Move(fresh, path, overwrite: true);
            kept.Add(path);
        }
    }

    /// <summary>Has the daemon load what is in its folder, and waits until it has.</summary>
    /// <param name="id">The bundle whose parts must be loaded; null: none.</param>
    /// <param name="gone">Shortened ids of bundles whose parts must not be loaded any more.</param>
    /// <returns>False when it did not within <paramref name="time"/>.</returns>
    /// <exception cref="ClamdException">It cannot be reached.</exception>
    public static bool Reload(string socket, string? id, IReadOnlyList<string> gone, TimeSpan time, CancellationToken cancellation)
    {
        long started = Stopwatch.GetTimestamp();
        for (TimeSpan asked = TimeSpan.MinValue; ; cancellation.WaitHandle.WaitOne(Pause))
        {
            cancellation.ThrowIfCancellationRequested();
            TimeSpan now = Stopwatch.GetElapsedTime(started);
            if (asked == TimeSpan.MinValue || now - asked > AskAgain)
            {
                ExchangeResult result = ClamdExchange.Ask(socket, "RELOAD", AnswerTime, cancellation);
                asked = result.End == ExchangeEnd.Answered ? now : throw new ClamdException($"clamd cannot be reached at {socket}: {result.Text}");
            }

            if ((id is null || IsLoaded(socket, id, cancellation)) && !gone.Any(g => IsLoaded(socket, g, cancellation)))
            {
                return true;
            }

            if (now > time)
            {
                return false;
            }
        }
    }

    /// <summary>For everybody to read, whatever the account's mask says: the daemon has its own.</summary>
    private static void OpenToReaders(FileStream file)
    {
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(file.SafeFileHandle, ReadOnly);
        }
    }

    private static byte[] Probe(string id) => Encoding.ASCII.GetBytes($"vmsweep: the ClamAV parts of bundle {id[..IdDigits]} are loaded");

    private static string ProbeName(string id) => "Vmsweep.Bundle." + id[..IdDigits];

    private static string NameOf(string id) => Prefix + id[..IdDigits];

    private static bool IsProbe(string path) => Path.GetFileName(path).Length == Prefix.Length + IdDigits + ".hsb".Length;

    private static IEnumerable<string> Ours(string folder) => Directory.EnumerateFiles(folder, Prefix + "*").Where(f => OurName().IsMatch(Path.GetFileName(f)));

    /// <summary>What an operator named like them stays.</summary>
    [GeneratedRegex(@"\Avmsweep-bundle-[0-9a-f]{32}(\.hsb|-[0-9]{4}-[^/]+)(\.new)?\z", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex OurName();
}
