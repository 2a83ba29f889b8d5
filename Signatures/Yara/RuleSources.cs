using System.Reflection;
using Vmsweep.Signatures.Yara.Language;

namespace Vmsweep.Signatures.Yara;

/// <summary>Finds and reads files of rules.</summary>
public static class RuleSources
{
    /// <summary>The largest public rule collections are some 20 MB in one file.</summary>
    private const long MostBytes = 256 << 20;

    private const string BuiltinPrefix = "Vmsweep.Signatures.Builtin.";

    /// <summary>
    /// The files that paths name: a file is taken as it is, of a folder every <c>*.yar</c> and <c>*.yara</c> below it in ordinal order.
    /// A file's namespace is its path below that folder without the extension; of a file that was named itself, its name without it.
    /// </summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="faults">Told of what cannot be read.</param>
    public static IReadOnlyList<RuleFile> Read(IEnumerable<string> paths, ICollection<RuleFault> faults)
    {
        List<RuleFile> files = [];
        foreach (string path in paths)
        {
            if (Directory.Exists(path))
            {
                string folder = Path.GetFullPath(path);
                IReadOnlyList<string> found = FilesOf(folder);
                if (found.Count == 0)
                {
                    faults.Add(new RuleFault(path, 0, "", "a folder without *.yar or *.yara files", IsWarning: false));
                }

                foreach (string file in found)
                {
                    Add(file, Path.GetRelativePath(folder, file), folder);
                }
            }
            else if (File.Exists(path))
            {
                Add(path, Path.GetFileName(path), Path.GetDirectoryName(Path.GetFullPath(path))!);
            }
            else
            {
                faults.Add(new RuleFault(path, 0, "", "no such file or folder", IsWarning: false));
            }
        }

        return files;

        void Add(string file, string name, string folder)
        {
            if (ReadText(file, faults) is { } text)
            {
                files.Add(new RuleFile(file, Path.ChangeExtension(name, null).Replace('\\', '/'), folder, text));
            }
        }
    }

    /// <summary>The rule files below a folder, in ordinal order.</summary>
    public static IReadOnlyList<string> FilesOf(string folder)
    {
        var all = new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.None, MaxRecursionDepth = 32 };
        return [.. Directory.EnumerateFiles(folder, "*", all).Where(IsRuleFile).Order(StringComparer.Ordinal)];
    }

    /// <summary>The starter rules that come with the product.</summary>
    public static IReadOnlyList<RuleFile> Builtin()
    {
        Assembly assembly = typeof(RuleSources).Assembly;
        List<RuleFile> files = [];
        foreach (string name in assembly.GetManifestResourceNames().Where(n => n.StartsWith(BuiltinPrefix, StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            using Stream stream = assembly.GetManifestResourceStream(name)!;
            byte[] text = new byte[stream.Length];
            stream.ReadExactly(text);
            string file = name[BuiltinPrefix.Length..];
            files.Add(new RuleFile($"builtin/{file}", $"builtin/{Path.ChangeExtension(file, null)}", null, text));
        }

        return files;
    }

    /// <summary>How many rules stand in a file, whether they compile or not.</summary>
    public static int Count(RuleFile file) => RuleFileParser.Parse(file, []).Units.Count;

    /// <summary>A file's bytes, or null and a fault.</summary>
    internal static byte[]? ReadText(string file, ICollection<RuleFault> faults)
    {
        try
        {
            var info = new FileInfo(file);
            if (info.Length > MostBytes)
            {
                faults.Add(new RuleFault(file, 0, "", $"larger than {MostBytes >> 20} MiB", IsWarning: false));
                return null;
            }

            return File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            faults.Add(new RuleFault(file, 0, "", e.Message, IsWarning: false));
            return null;
        }
    }

    private static bool IsRuleFile(string path) =>
        path.EndsWith(".yar", StringComparison.OrdinalIgnoreCase) || path.EndsWith(".yara", StringComparison.OrdinalIgnoreCase);
}
