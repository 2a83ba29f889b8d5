using System.Security.Cryptography;
using System.Text;

namespace Vmsweep.Signatures.Yara.Language;

/// <summary>The rules of one namespace in order, includes put in their place.</summary>
internal sealed class RuleSpace(string name)
{
    public string Name => name;

    /// <summary>Name, ended by a zero byte.</summary>
    public byte[] NameZ { get; } = [.. Encoding.UTF8.GetBytes(name), 0];

    public List<string> Imports { get; } = [];

    public List<RuleUnit> Units { get; } = [];
}

/// <summary>All rules of a run, taken apart and tied together: who refers to whom, who asks which module.</summary>
internal sealed class RuleProgram
{
    /// <summary>As libyara's <c>YR_MAX_INCLUDE_DEPTH</c>.</summary>
    private const int MostIncludeDepth = 16;

    private readonly ICollection<RuleFault> _faults;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private readonly Dictionary<string, bool> _modules = new(StringComparer.Ordinal);

    private RuleProgram(ICollection<RuleFault> faults) => _faults = faults;

    public List<RuleSpace> Spaces { get; } = [];

    /// <summary>Every rule, in order of files and lines.</summary>
    public IEnumerable<RuleUnit> Units => Spaces.SelectMany(s => s.Units);

    /// <summary><c>sha256:</c> over all sources.</summary>
    public string Bundle { get; private set; } = "";

    public static RuleProgram Read(IEnumerable<RuleFile> files, ICollection<RuleFault> faults)
    {
        var program = new RuleProgram(faults);
        HashSet<string> names = new(StringComparer.Ordinal);
        foreach (RuleFile file in files)
        {
            string name = file.Namespace;
            for (int i = 2; !names.Add(name); i++)
            {
                name = $"{file.Namespace}#{i}";
            }

            var space = new RuleSpace(name);
            program.Add(space, file with { Namespace = name }, []);
            program.Tie(space);
            program.Spaces.Add(space);
        }

        program.Bundle = "sha256:" + Convert.ToHexStringLower(program._hash.GetHashAndReset());
        program._hash.Dispose();
        return program;
    }

    private void Add(RuleSpace space, RuleFile file, List<string> includers)
    {
        _hash.AppendData(Encoding.UTF8.GetBytes($"{file.Namespace}\0{file.Text.Length}\0"));
        _hash.AppendData(file.Text);
        ParsedFile parsed = RuleFileParser.Parse(file, _faults);
        foreach ((string import, int line) in parsed.Imports.Where(i => !space.Imports.Contains(i.Module)))
        {
            if (Knows(import))
            {
                space.Imports.Add(import);
            }
            else
            {
                _faults.Add(new RuleFault(file.File, line, "", $"unknown module \"{import}\"", IsWarning: false));
            }
        }

        int done = 0;
        foreach (Include include in parsed.Includes)
        {
            space.Units.AddRange(parsed.Units[done..include.BeforeUnit]);
            done = include.BeforeUnit;
            if (Resolve(file, include, [.. includers, Path.GetFullPath(file.File)]) is { } included)
            {
                Add(space, included, [.. includers, Path.GetFullPath(file.File)]);
            }
        }

        space.Units.AddRange(parsed.Units[done..]);
    }

    /// <summary>An include opens only regular files inside the folder that the rules were given as.</summary>
    private RuleFile? Resolve(RuleFile file, Include include, List<string> includers)
    {
        string? refusal = null;
        string path = "";
        if (file.Folder is null)
        {
            refusal = "includes are not allowed here";
        }
        else if (includers.Count >= MostIncludeDepth)
        {
            refusal = $"includes are nested more than {MostIncludeDepth} deep";
        }
        else
        {
            path = Path.GetFullPath(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(file.File))!, include.Name));
            string folder = file.Folder.TrimEnd('/') + "/";
            refusal = !path.StartsWith(folder, StringComparison.Ordinal) ? "an include leaves the folder of the rules"
                : HasLink(path, folder) ? "an include goes through a link"
                : includers.Contains(path) ? "an include of itself"
                : !File.Exists(path) ? "no such file"
                : null;
        }

        if (refusal is not null)
        {
            _faults.Add(new RuleFault(file.File, include.Line, "", $"include \"{include.Name}\": {refusal}", IsWarning: false));
            return null;
        }

        return RuleSources.ReadText(path, _faults) is { } text ? file with { File = path, Text = text } : null;
    }

    private static bool HasLink(string path, string folder)
    {
        for (string at = path; at.Length > folder.Length; at = Path.GetDirectoryName(at)!)
        {
            if (new FileInfo(at).LinkTarget is not null)
            {
                return true;
            }
        }

        return false;
    }

    private bool Knows(string module)
    {
        if (!_modules.TryGetValue(module, out bool known))
        {
            using var compiler = new NativeCompiler();
            known = module.All(c => char.IsAsciiLetterOrDigit(c) || c == '_') && compiler.Add(Encoding.ASCII.GetBytes($"import \"{module}\"\0"), "m\0"u8);
            _modules.Add(module, known);
        }

        return known;
    }

    /// <summary>Finds what each rule refers to, and leaves out what another rule's name forbids.</summary>
    private void Tie(RuleSpace space)
    {
        Dictionary<string, RuleUnit> byName = new(StringComparer.Ordinal);
        List<string> prefixes = [];
        foreach (RuleUnit unit in space.Units)
        {
            if (byName.ContainsKey(unit.Name))
            {
                LeaveOut(unit, $"duplicated identifier \"{unit.Name}\"");
                continue;
            }

            if (prefixes.Find(p => unit.Name.StartsWith(p, StringComparison.Ordinal)) is { } prefix)
            {
                LeaveOut(unit, $"the name matches the wildcard \"{prefix}*\" of a rule before it");
                continue;
            }

            foreach (string name in unit.Names)
            {
                if (byName.TryGetValue(name, out RuleUnit? other))
                {
                    unit.RefersTo.Add(other);
                }

                if (space.Imports.Contains(name))
                {
                    unit.Modules.Add(name);
                }
            }

            foreach (string p in unit.Prefixes)
            {
                unit.RefersTo.AddRange(byName.Values.Where(u => u.Name.StartsWith(p, StringComparison.Ordinal)));
                prefixes.Add(p);
            }

            byName.Add(unit.Name, unit);
        }
    }

    private void LeaveOut(RuleUnit unit, string reason)
    {
        unit.Fault = new RuleFault(unit.File, unit.Line, unit.Name, reason, IsWarning: false);
        _faults.Add(unit.Fault);
    }
}
