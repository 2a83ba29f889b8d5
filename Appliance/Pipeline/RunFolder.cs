namespace Vmsweep.Appliance.Pipeline;

/// <summary>A private folder for the files that one run hands to its workers; removed with it.</summary>
internal sealed class RunFolder : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("vmsweep-run-");

    public string File(string name) => Path.Combine(_folder.FullName, name);

    public void Dispose()
    {
        try
        {
            _folder.Delete(recursive: true);
        }
        catch (IOException)
        {
            // A worker that is just ending may still hold it; the system clears its temporary files.
        }
    }
}
