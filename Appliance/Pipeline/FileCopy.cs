using Vmsweep.Appliance.Worker;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.FileSystems;
using Vmsweep.DiskReaders.Inspection;

namespace Vmsweep.Appliance.Pipeline;

/// <summary>One guest file's content.</summary>
internal static class FileCopy
{
    public static void Run(CatJob job, InspectedVm vm, EventWriter writer, ProgressReporter progress, ReadContext context)
    {
        (InspectedVolume volume, byte[] path) = VolumePath.Find(vm, job.Path);
        if (path.Length == 0)
        {
            throw new JobFailedException($"{job.Path} is a volume; name a file in it");
        }

        if (volume.FileSystem is null)
        {
            throw new JobFailedException($"{volume.Id} ({volume.Kind}) has no file system that can be read");
        }

        foreach (GuestFile file in volume.FileSystem.Walk())
        {
            if (!file.Links.Any(l => l.Path(file.StreamName).AsSpan().SequenceEqual(path)))
            {
                continue;
            }

            if (file.Kind is not (GuestFileKind.Regular or GuestFileKind.System))
            {
                throw new JobFailedException($"{job.Path} is a {VolumePath.KindName(file.Kind)}, not a file");
            }

            if (file.Fault is { } fault)
            {
                throw fault;
            }

            using IBlockSource content = volume.FileSystem.OpenContent(file);
            ContentCopy.Run(job, content, 0, content.Length, writer, progress, context);
            return;
        }

        throw new JobFailedException($"{job.Path} is not there");
    }
}
