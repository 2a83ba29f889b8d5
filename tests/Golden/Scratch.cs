namespace Vmsweep.Golden;

/// <summary>A folder of its own for one test, removed with it.</summary>
public sealed class Scratch : IDisposable
{
    public Scratch() => Folder = Directory.CreateTempSubdirectory("vmsweep-test-").FullName;

    public string Folder { get; }

    public string this[string name] => Path.Combine(Folder, name);

    public void Dispose()
    {
        try
        {
            Directory.Delete(Folder, recursive: true);
        }
        catch (IOException)
        {
            // A mount that is still busy keeps its folder; the machine's temporary files are cleared anyway.
        }
    }
}
