using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

/// <summary>
/// BitLocker volumes that Windows made: the test images in Debian's source package of cryptsetup, with their passwords and the
/// SHA-256 of what the kernel's dm-crypt reads of them. Fetched by apt once and kept among the temporary files.
/// </summary>
public sealed class WindowsImages
{
    private const string Fetch = """
        mkdir -p apt/parts apt/lists apt/cache
        sources=/etc/apt/sources.list.d/debian.sources
        if [ -e "$sources" ]; then sed 's/^Types:.*/Types: deb-src/' "$sources" > apt/parts/debian.sources; else sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > apt/parts/debian.list; fi
        options="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$PWD/apt/parts -o Dir::State::lists=$PWD/apt/lists -o Dir::Cache=$PWD/apt/cache -o APT::Sandbox::User=root"
        apt-get $options -qq update
        apt-get $options -qq --download-only source cryptsetup
        tar xf cryptsetup_*.orig.tar.*z --wildcards --strip-components=2 '*/tests/bitlk-images.tar.xz'
        tar xSf bitlk-images.tar.xz --no-same-owner --strip-components=1
        rm -rf apt cryptsetup_* bitlk-images.tar.xz
        """;

    private static readonly string Kept = Path.Combine(Path.GetTempPath(), "vmsweep-cryptsetup-bitlk");

    private readonly Dictionary<string, Dictionary<string, string>> _sections = new(StringComparer.Ordinal);

    public WindowsImages()
    {
        if (!Directory.Exists(Kept))
        {
            string made = Directory.CreateTempSubdirectory("vmsweep-test-").FullName;
            Tool.Shell("{ " + Fetch + "\n} > log 2>&1 || { cat log; exit 1; }", made);
            Directory.Move(made, Kept);
        }

        Dictionary<string, string> section = [];
        foreach (string line in File.ReadLines(Path.Combine(Kept, "images.conf")))
        {
            if (line.StartsWith('['))
            {
                section = _sections[line.Trim('[', ']', ' ')] = new Dictionary<string, string>(StringComparer.Ordinal);
            }
            else if (line.IndexOf('=', StringComparison.Ordinal) is > 0 and int at)
            {
                section[line[..at]] = line[(at + 1)..];
            }
        }
    }

    /// <summary>The images that the package says something of.</summary>
    public IReadOnlyCollection<string> Names => _sections.Keys;

    public string PathOf(string image) => Path.Combine(Kept, image + ".img");

    /// <summary>What the package says of an image; empty where it says nothing.</summary>
    public string Fact(string image, string name) => _sections[image].GetValueOrDefault(name, "");

    /// <summary>The startup key of an image; null where it has none.</summary>
    public byte[]? KeyFile(string image) => Fact(image, "SK_VMK_GUID") is { Length: > 0 } id ? File.ReadAllBytes(Path.Combine(Kept, id.ToUpperInvariant() + ".BEK")) : null;
}
